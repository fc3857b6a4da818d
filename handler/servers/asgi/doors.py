"""Who is let in, and under which headers answers go out: tokens, host names, origins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from handler.servers.asgi.access import OPERATE, PREDICT, Access
from handler.servers.asgi.cross_origin import CrossOrigin
from handler.servers.asgi.host_names import HostNames, host_name, is_loopback
from handler.servers.asgi.page import page_paths

#: Headers of every answer, also of those to what is no request. No answer is a page, and none may be taken for one.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STRICT_TRANSPORT = "max-age=31536000"
#: Probes, and the page, which asks for a token itself.
_FOR_ALL = {"/ping", "/v2/health/live", "/v2/health/ready", *page_paths()}
_PREDICTIONS = ("/predictions/", "/explanations/", "/invocations")
_PREDICTION_ENDS = (":predict", ":explain", "/infer")
#: What KServe's clients read before they predict, and paths that do not exist.
_FOR_EITHER = ("", "/openapi.json", "/v1/models", "/v1/models/{model}", "/v2")


@dataclass(frozen=True)
class Doors:
    """The checks of a request before it is routed to its endpoint."""

    access: Access
    host_names: HostNames
    cross_origin: CrossOrigin

    def admit(self, request: Request, route: str) -> str | None:
        """Let a request pass, and return the name of its token, if it needs one.

        Args:
            request: the request.
            route: its path as declared, with the names of its parts in braces; empty: no such path.

        Raises:
            MalformedRequest: it does not say for which host it is.
            Misdirected: it is for another host.
            Unauthorized: it has no valid token.
            Forbidden: its token is for other paths.
        """
        hosts, scopes = _values(request, b"host"), scopes_of(route)
        self.host_names.require_one(hosts, request.scope["http_version"])
        if not scopes or request.method == "OPTIONS":  # A preflight has no token, and the methods are no secret.
            return None
        if OPERATE in scopes and route:
            self.host_names.require_allowed(hosts, request.scope["state"].get("target", ""))
        return self.access.check(_values(request, b"authorization"), scopes)

    def finish(self, request: Request, response: Response) -> None:
        """Add the headers that every answer has."""
        headers: Mapping[str, str] = request.scope["deeplab.headers"]
        added = {**SECURITY_HEADERS, **self.cross_origin.headers(headers.get("origin"))}
        if self.cross_origin.is_preflight(request.method, headers):
            added |= self.cross_origin.preflight_headers(headers, response.headers.get("Allow", ""))
        # A browser would remember it for all servers on this machine.
        if request.scope["scheme"] == "https" and not is_loopback(host_name(headers.get("host", "")) or "localhost"):
            added["Strict-Transport-Security"] = _STRICT_TRANSPORT
        for name, value in added.items():
            if name == "Vary" and name in response.headers:
                value = f"{response.headers[name]}, {value}"
            elif name in response.headers:
                continue
            response.headers[name] = value


def scopes_of(route: str) -> frozenset[str]:
    """Return the scopes that open this path, any one of them; empty: no token is needed."""
    if route in _FOR_ALL:
        return frozenset()
    if route.startswith(_PREDICTIONS) or route.endswith(_PREDICTION_ENDS):
        return frozenset({PREDICT})
    if route in _FOR_EITHER or route.startswith("/v2/models/"):
        return frozenset({PREDICT, OPERATE})
    return frozenset({OPERATE})


def _values(request: Request, name: bytes) -> Sequence[str]:
    return [value.decode("latin-1").strip(" \t") for key, value in request.scope["headers"] if key == name]

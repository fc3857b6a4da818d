"""The checks that a request passes before its endpoint (token, host name, origin), and the headers of every response."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from handler.servers.asgi.access import OPERATE, PREDICT, Access
from handler.servers.asgi.cross_origin import CrossOrigin
from handler.servers.asgi.host_names import HostNames, host_name, is_loopback
from handler.servers.asgi.page import page_paths

#: Headers of every response, even to bytes that are not HTTP. No response may be interpreted as a page.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STRICT_TRANSPORT = "max-age=31536000"
#: Probes, and the page, which prompts for a token itself.
_PUBLIC_PATHS = {"/ping", "/v2/health/live", "/v2/health/ready", *page_paths()}
_PREDICTION_PREFIXES = ("/predictions/", "/explanations/", "/invocations")
_PREDICTION_SUFFIXES = (":predict", ":explain", "/infer")
#: Paths that KServe clients read before they predict, and paths that do not exist.
_SHARED_PATHS = ("", "/openapi.json", "/v1/models", "/v1/models/{model}", "/v2")


@dataclass(frozen=True)
class RequestGuard:
    """The checks of a request before it is routed to its endpoint."""

    access: Access
    host_names: HostNames
    cross_origin: CrossOrigin

    def admit(self, request: Request, route: str) -> str | None:
        """Admit a request, and return the name of its token, or None if it needs none.

        Args:
            request: the request.
            route: the declared path, with parameters in braces; empty if there is no such path.

        Raises:
            MalformedRequest: the request does not name exactly one host.
            Misdirected: it is for another host.
            Unauthorized: it has no valid token.
            Forbidden: its token is for other paths.
        """
        hosts, scopes = _header_values(request, b"host"), accepted_scopes(route)
        self.host_names.require_one(hosts, request.scope["http_version"])
        if not scopes or request.method == "OPTIONS":  # A preflight has no token, and methods are not secret.
            return None
        if OPERATE in scopes and route:
            self.host_names.require_allowed(hosts, request.scope["state"].get("target", ""))
        return self.access.check(_header_values(request, b"authorization"), scopes)

    def finish(self, request: Request, response: Response) -> None:
        """Add the headers that every response has."""
        headers: Mapping[str, str] = request.scope["deeplab.headers"]
        response_headers = {**SECURITY_HEADERS, **self.cross_origin.headers(headers.get("origin"))}
        if self.cross_origin.is_preflight(request.method, headers):
            response_headers |= self.cross_origin.preflight_headers(headers, response.headers.get("Allow", ""))
        # For a loopback name, browsers would apply it to all servers on this machine.
        if request.scope["scheme"] == "https" and not is_loopback(host_name(headers.get("host", "")) or "localhost"):
            response_headers["Strict-Transport-Security"] = _STRICT_TRANSPORT
        for name, value in response_headers.items():
            if name == "Vary" and name in response.headers:
                value = f"{response.headers[name]}, {value}"
            elif name in response.headers:
                continue
            response.headers[name] = value


def accepted_scopes(route: str) -> frozenset[str]:
    """Return the scopes that each give access to a path; empty if no token is needed."""
    if route in _PUBLIC_PATHS:
        return frozenset()
    if route.startswith(_PREDICTION_PREFIXES) or route.endswith(_PREDICTION_SUFFIXES):
        return frozenset({PREDICT})
    if route in _SHARED_PATHS or route.startswith("/v2/models/"):
        return frozenset({PREDICT, OPERATE})
    return frozenset({OPERATE})


def _header_values(request: Request, name: bytes) -> Sequence[str]:
    return [value.decode("latin-1").strip(" \t") for key, value in request.scope["headers"] if key == name]

"""Pages of other origins (CORS), by an allow-list.

Starlette's `CORSMiddleware` would answer what it refuses itself: as plain text, without a request id, a line in the log or the
other headers. This decides and leaves the answering to the routes.
"""

import re
from collections.abc import Mapping, Sequence

#: What scripts may read of an answer beside the few headers that browsers show anyway.
_EXPOSED = "X-Request-ID, Retry-After, Inference-Header-Content-Length, Server-Timing, WWW-Authenticate, traceparent"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+( *, *[A-Za-z0-9!#$%&'*+.^_`|~-]+){0,99}")
#: Browsers cap it: Chromium at two hours.
_PREFLIGHT_VALID_S = 7200


class CrossOrigin:
    """What pages of other origins may do: nothing, unless their origin is listed."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """Keep the list, in lower case; `*` stands for every origin."""
        self._allows_all = "*" in allowed
        self._allowed = frozenset(allowed)

    def is_preflight(self, method: str, headers: Mapping[str, str]) -> bool:
        """Tell whether a browser asks what a page may send. It asks without the page's token."""
        return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return the headers of any answer, errors too, so that the page may read it."""
        if not self._allowed:
            return {}
        if self._allows_all:
            return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _EXPOSED} if origin else {}
        if origin is None or origin not in self._allowed:
            return {"Vary": "Origin"}
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED, "Vary": "Origin"}

    def preflight_headers(self, headers: Mapping[str, str], allow: str) -> dict[str, str]:
        """Return what the answer to a preflight has beside `headers`: every header of a page of a listed origin may be sent.

        Args:
            headers: the request's, names in lower case.
            allow: methods that the path takes.
        """
        if "Access-Control-Allow-Origin" not in self.headers(headers["origin"]):
            return {}
        asked = headers.get("access-control-request-headers", "")
        return {
            "Access-Control-Allow-Methods": allow,
            "Access-Control-Max-Age": str(_PREFLIGHT_VALID_S),
            **({"Access-Control-Allow-Headers": asked} if _HEADER_NAMES.fullmatch(asked) else {}),
        }

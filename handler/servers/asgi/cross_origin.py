"""Cross-origin requests (CORS) by an allow-list.

Starlette's `CORSMiddleware` would answer refused requests itself: as plain text, without a request id, a log line or the other
headers. This module only decides, and the routes answer.
"""

import re
from collections.abc import Mapping, Sequence

#: Response headers that scripts may read in addition to the few that browsers always expose.
_EXPOSED_HEADERS = "X-Request-ID, Retry-After, Inference-Header-Content-Length, Server-Timing, WWW-Authenticate, traceparent"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+( *, *[A-Za-z0-9!#$%&'*+.^_`|~-]+){0,99}")
#: Browsers cap it: Chromium at two hours.
_PREFLIGHT_MAX_AGE_S = 7200


class CrossOrigin:
    """The CORS policy: pages of other origins may do nothing unless their origin is listed."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """Allow these origins, given in lower case; `*` allows every origin."""
        self._allows_all = "*" in allowed
        self._allowed = frozenset(allowed)

    def is_preflight(self, method: str, headers: Mapping[str, str]) -> bool:
        """Return whether a request is a preflight, which browsers send without the page's token."""
        return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return the headers that let the page read a response, including errors."""
        if not self._allowed:
            return {}
        if self._allows_all:
            return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _EXPOSED_HEADERS} if origin else {}
        if origin is None or origin not in self._allowed:
            return {"Vary": "Origin"}
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED_HEADERS, "Vary": "Origin"}

    def preflight_headers(self, headers: Mapping[str, str], allow: str) -> dict[str, str]:
        """Return the additional headers of a preflight response; a page of a listed origin may send any header.

        Args:
            headers: the request's headers, names in lower case.
            allow: the methods that the path allows.
        """
        if "Access-Control-Allow-Origin" not in self.headers(headers["origin"]):
            return {}
        requested_headers = headers.get("access-control-request-headers", "")
        return {
            "Access-Control-Allow-Methods": allow,
            "Access-Control-Max-Age": str(_PREFLIGHT_MAX_AGE_S),
            **({"Access-Control-Allow-Headers": requested_headers} if _HEADER_NAMES.fullmatch(requested_headers) else {}),
        }

"""The web page for viewing and correcting masks: static files that `make page` builds from `page/`."""

import gzip
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from handler.servers.asgi.compression import accepts_gzip
from handler.servers.asgi.errors import PathNotFound

#: Written by `make page`.
FILES = Path(__file__).parent / "static"

#: Nothing from other origins, no inline scripts, no framing. Photographs are shown as `blob:` URLs.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), clipboard-write=(self), geolocation=(), microphone=()",
}
#: Listed here, since the system's table may differ.
_MEDIA_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
#: File names in `assets/` contain a digest of their content.
_IMMUTABLE = "public, max-age=31536000, immutable"


def page_paths() -> dict[str, str]:
    """Return the content types of the page and its files by URL path."""
    files = {f"/{path.relative_to(FILES).as_posix()}": path for path in sorted(FILES.rglob("*")) if path.is_file()}
    return {"/": _MEDIA_TYPES[".html"], **{url: _MEDIA_TYPES[path.suffix] for url, path in files.items()}}


async def send_page_file(request: Request) -> Response:
    """Send the file at the request's path, one of `page_paths`.

    Raises:
        PathNotFound: the file was deleted since the server started.
    """
    name = request.url.path.lstrip("/") or "index.html"
    file = FILES / name
    try:
        content = file.read_bytes()
    except OSError as error:
        raise PathNotFound(f"the page's file {name} is missing on this server") from error
    headers = {**_HEADERS, "Cache-Control": _IMMUTABLE if name.startswith("assets/") else "no-cache"}
    if file.suffix != ".jpg":
        headers["Vary"] = "Accept-Encoding"
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            content, headers["Content-Encoding"] = gzip.compress(content, mtime=0), "gzip"
    return Response(content, headers=headers, media_type=_MEDIA_TYPES[file.suffix])

"""Pages of another origin: their browser's preflight, and the lines of config.properties that allow it on TorchServe."""

import re

import requests

from tests.live.client import TIMEOUT_S
from tests.support import ROOT

ORIGIN = "https://app.example.org"


def cross_origin_settings(origin: str) -> str:
    """Return the lines that docs/http-api.md shows, for pages of `origin`."""
    (lines,) = re.findall(r"```properties\n(cors_.*?)```", (ROOT / "docs" / "http-api.md").read_text(), re.DOTALL)
    return "\n" + re.sub(r"(?<=^cors_allowed_origin=).*", origin, lines, flags=re.MULTILINE)


def preflight(url: str, headers: str, origin: str = ORIGIN, verify: str | bool = True) -> requests.Response:
    """Send the preflight request of a page of `origin` that would POST with these headers."""
    request_headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    return requests.options(url, headers=request_headers, verify=verify, timeout=TIMEOUT_S)


def allowed_by(response: requests.Response) -> dict[str, str]:
    """Return what the server allows: `origin`, `methods`, `headers`."""
    names = {name: value for name, value in response.headers.lower_items() if name.startswith("access-control-allow-")}
    return {name.removeprefix("access-control-allow-"): value for name, value in names.items()}

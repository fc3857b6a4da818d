"""The lines of config.properties that let pages of another origin call the server, as docs/http-api.md shows them."""

import re

from tests.support import ROOT

ORIGIN = "https://app.example.org"


def cross_origin_settings(origin: str) -> str:
    """Return the documented lines, for pages of `origin`."""
    (lines,) = re.findall(r"```properties\n(cors_.*?)```", (ROOT / "docs" / "http-api.md").read_text(), re.DOTALL)
    return "\n" + re.sub(r"(?<=^cors_allowed_origin=).*", origin, lines, flags=re.MULTILINE)

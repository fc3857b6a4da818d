"""Which format an `Accept` header asks for (RFC 9110, section 12.5.1)."""

import math
from collections.abc import Mapping

from handler.answers import Format


def preferred(accept: str, formats: Mapping[str, Format]) -> str | None:
    """The name of the format that a client wants most; None: it wants none of them, or does not say.

    Of formats that are wanted alike, the one whose media range comes first in `accept`, then the first of `formats`.
    """
    ranges = [_range(part) for part in accept.split(",")]
    wanted = {name: _wanted(entry.content_type, ranges) for name, entry in formats.items()}
    # max() gives the first of equals.
    name = max(wanted, key=lambda each: wanted[each])
    return name if wanted[name][0] > 0 else None


def _range(part: str) -> tuple[str, float]:
    """A media range and its quality, 0..1; one that is not a number is none."""
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    text = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        quality = float(text)
    except ValueError:
        quality = 0.0
    return media_range, 0.0 if math.isnan(quality) else min(max(quality, 0.0), 1.0)


def _wanted(content_type: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """Quality of the most specific range that admits `content_type`, and how far to the left it stands."""
    for admitting in (content_type, content_type.split("/")[0] + "/*", "*/*"):
        for position, (media_range, quality) in enumerate(ranges):
            if media_range == admitting:
                return quality, -position
    return 0.0, 0

"""Choose a format for an `Accept` header (RFC 9110, section 12.5.1)."""

import math
from collections.abc import Mapping

from handler.answers import Format


def preferred_format(accept: str, formats: Mapping[str, Format]) -> str | None:
    """Return the name of the format that the client prefers, or None if it accepts none of them or states no preference.

    Among equal qualities, the format whose media range comes first in `accept` wins, then the first one in `formats`.
    """
    ranges = [_parse_media_range(part) for part in accept.split(",")]
    ranks = {name: _rank(entry.content_type, ranges) for name, entry in formats.items()}
    # max() returns the first of equal items.
    name = max(ranks, key=lambda name: ranks[name])
    return name if ranks[name][0] > 0 else None


def _parse_media_range(part: str) -> tuple[str, float]:
    """Return a media range and its quality, 0..1; a quality that is not a number counts as 0."""
    media_range, *parameters = (parameter.strip().lower() for parameter in part.split(";"))
    text = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        quality = float(text)
    except ValueError:
        quality = 0.0
    return media_range, 0.0 if math.isnan(quality) else min(max(quality, 0.0), 1.0)


def _rank(content_type: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """Return the quality of the most specific range that matches `content_type`, and minus its position."""
    for pattern in (content_type, content_type.split("/")[0] + "/*", "*/*"):
        for position, (media_range, quality) in enumerate(ranges):
            if media_range == pattern:
                return quality, -position
    return 0.0, 0

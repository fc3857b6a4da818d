"""Large pictures, worked on some rows at a time."""

from collections.abc import Iterator

#: So that a large photograph needs memory for one copy of itself and little more.
_PIXELS_AT_ONCE = 1 << 20


def strips(height: int, width: int) -> Iterator[slice]:
    """All rows of a picture of that size, from the top, some at a time."""
    step = max(1, _PIXELS_AT_ONCE // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))

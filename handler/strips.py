"""Process large arrays in strips of rows."""

from collections.abc import Iterator


def row_strips(height: int, width: int, pixels: int = 1 << 20) -> Iterator[slice]:
    """Split `height` rows of `width` values into strips of about `pixels` values, from the top; at least one row each.

    Temporary arrays are then only as large as a strip and stay in the processor's cache.
    """
    step = max(1, pixels // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))

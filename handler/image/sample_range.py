"""Samples of any type brought to 8 bits, by the values that are shown as black and white."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]
#: The values shown as black and as white.
Limits = tuple[float, float]

_PERCENTILES = (2, 98)
#: What the upper percentile becomes, of white. In photographs a few places are far brighter than the rest; clipped, they would
#: make all others too bright. With this, the labels of photographs stored as 16-bit reflectance come closest to their own.
_UPPER_LEVEL = 0.8
#: Values per band that percentiles are taken from; all of a smaller image.
_MOST_VALUES = 1_000_000


def white_value(bits: int, *, signed: bool = False, floats: bool = False) -> int:
    """Return the value that is white, and opaque in alpha: the greatest of up to 16 bits, 65,535 beyond, 1 of floats."""
    if floats:
        return 1
    return (1 << min(bits, 16)) - 1 if not signed or bits > 8 else 255


def sampling_step(pixels: int) -> int:
    """Return how many rows and columns apart the pixels are that percentiles are computed from."""
    return max(1, int((pixels / _MOST_VALUES) ** 0.5))


def auto_limits(parts: Iterable[Samples]) -> Limits:
    """Return the values to show as black and white by the 2nd and 98th percentiles of `parts` together, of any shape.

    The 2nd percentile is black, the 98th four fifths of white. NaN and infinite values do not count. Without any other: 0, 1.
    """
    values = np.concatenate([np.ravel(part) for part in parts] or [np.empty(0)])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    return low, low + (high - low) / _UPPER_LEVEL


def to_eight_bits(samples: Samples, limits: Limits) -> npt.NDArray[np.uint8]:
    """Scale `samples` so that the first of `limits` becomes 0 and the second 255, rounded and clipped; NaN becomes 0.

    If both are equal, what is greater becomes 255.
    """
    low, high = limits
    if samples.dtype == np.uint8 and limits == (0, 255):
        return samples.astype(np.uint8, copy=False)
    if samples.dtype.kind in "ui" and samples.dtype.itemsize <= 2:
        bounds = np.iinfo(samples.dtype)
        table = _scale(np.arange(bounds.min, bounds.max + 1, dtype=np.float64), low, high)
        # Negative samples index the table from its end.
        scaled: npt.NDArray[np.uint8] = np.roll(table, bounds.min)[samples] if bounds.min else table[samples]
        return scaled
    return _scale(samples.astype(np.float64 if samples.dtype.itemsize > 4 else np.float32), low, high)


def _scale(values: npt.NDArray[np.floating], low: float, high: float) -> npt.NDArray[np.uint8]:
    if not low < high:
        return np.where(values > low, np.uint8(255), np.uint8(0))
    with np.errstate(invalid="ignore", over="ignore"):
        # Clipped first, so that neither infinity nor a huge value is subtracted.
        scaled = (np.clip(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high) - low) * (255 / (high - low))
    rounded: npt.NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return rounded

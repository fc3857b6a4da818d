"""Scale samples of any type to 8 bits, given the values to show as black and white."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]
#: The values shown as black and as white.
SampleRange = tuple[float, float]

_PERCENTILES = (2, 98)
#: The level of the upper percentile, as a fraction of white. In photographs a few places are far brighter than the rest;
#: clipping them would make everything else too bright. This level best preserves the labels of photographs that are stored as
#: 16-bit reflectance.
_UPPER_LEVEL = 0.8
#: The most values per band from which percentiles are computed.
_MAX_VALUES = 1_000_000


def white_value(bits: int, *, signed: bool = False, is_float: bool = False) -> int:
    """Return the white value, which is also opaque alpha: the greatest for up to 16 bits, 65,535 above, 1 for floats."""
    if is_float:
        return 1
    return (1 << min(bits, 16)) - 1 if not signed or bits > 8 else 255


def sampling_step(pixels: int) -> int:
    """Return the step, in rows and columns, between the pixels from which percentiles are computed."""
    return max(1, int((pixels / _MAX_VALUES) ** 0.5))


def auto_range(samples: Iterable[Samples]) -> SampleRange:
    """Return the values to show as black and white, from the 2nd and 98th percentiles of all `samples`, of any shape.

    The 2nd percentile is black, the 98th four fifths of white. NaN and infinite values are ignored; if there are no others,
    return 0, 1.
    """
    values = np.concatenate([np.ravel(part) for part in samples] or [np.empty(0)])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    return low, low + (high - low) / _UPPER_LEVEL


def to_eight_bits(samples: Samples, sample_range: SampleRange) -> npt.NDArray[np.uint8]:
    """Scale `samples` so that the first of `sample_range` becomes 0 and the second 255, rounded and clipped; NaN becomes 0.

    If both are equal, greater values become 255.
    """
    low, high = sample_range
    if samples.dtype == np.uint8 and sample_range == (0, 255):
        return samples.astype(np.uint8, copy=False)
    if samples.dtype.kind in "ui" and samples.dtype.itemsize <= 2:
        bounds = np.iinfo(samples.dtype)
        table = _scale(np.arange(bounds.min, bounds.max + 1, dtype=np.float64), low, high)
        # Negative samples index the table from its end, hence the roll.
        scaled: npt.NDArray[np.uint8] = np.roll(table, bounds.min)[samples] if bounds.min else table[samples]
        return scaled
    return _scale(samples.astype(np.float64 if samples.dtype.itemsize > 4 else np.float32), low, high)


def _scale(values: npt.NDArray[np.floating], low: float, high: float) -> npt.NDArray[np.uint8]:
    if not low < high:
        return np.where(values > low, np.uint8(255), np.uint8(0))
    with np.errstate(invalid="ignore", over="ignore"):
        # Clip first, so that no infinite or huge value is subtracted.
        scaled = (np.clip(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high) - low) * (255 / (high - low))
    rounded: npt.NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return rounded

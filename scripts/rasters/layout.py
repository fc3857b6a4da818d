"""Where windows lie along each side of a raster, and their weights at each pixel.

Positions are in network pixels from the raster's edge: 0 is the outer edge of the first pixel. The raster's own pixels are
larger or smaller if a resolution is chosen. Everything here depends only on the pixel and not on the block in which it is
computed, so blocks may be computed in any order, by any process.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

#: The least overlap of two windows. With less, a window's outermost cells, which see the least context, would show.
MIN_OVERLAP = 16
#: Pixels at either end of an overlap where only the nearer window counts, as the other's values lack neighbours there.
_MARGIN = 8


@dataclass(frozen=True)
class Stretch:
    """Pixels along one side that are labelled by the same one or two windows."""

    pixels: slice
    windows: tuple[int, ...]
    #: Weight of the second window, 0 to 1, float32, one per pixel; None if there is only one window.
    weight: npt.NDArray[np.float32] | None


@dataclass(frozen=True)
class Side:
    """One side of a raster, covered by overlapping windows."""

    #: Length in raster pixels and in network pixels.
    pixels: int
    network_pixels: int
    #: The length of every window, and the least overlap of neighbours, in network pixels.
    window: int
    overlap: int

    @classmethod
    def cover(cls, pixels: int, network_pixels: int, window: int, overlap: int) -> "Side":
        """Cover a side with windows; a side shorter than a window gets one window of its own length."""
        return cls(pixels, network_pixels, min(window, network_pixels), overlap)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each window begins: evenly spaced, the first and the last flush with the raster's edges."""
        slack = self.network_pixels - self.window
        if slack == 0:  # The side is no longer than a window, and perhaps no longer than an overlap.
            return (0,)
        steps = -(-slack // (self.window - self.overlap))
        return tuple(index * slack // steps for index in range(steps + 1))

    @cached_property
    def _ramps(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Where the weight begins and ends passing from each window to the next: in the middle of their overlap."""
        starts = np.array(self.starts, np.float64)
        middles = (starts[1:] + starts[:-1] + self.window) / 2
        half = self.overlap / 2 - -(-self.overlap // _MARGIN)
        return middles - half, middles + half

    def centres(self, pixels: slice) -> npt.NDArray[np.float64]:
        """Return the centre positions of the raster's `pixels`."""
        return (np.arange(pixels.start, pixels.stop) + 0.5) * (self.network_pixels / self.pixels)

    def stretches(self, pixels: slice) -> Iterator[Stretch]:
        """Split `pixels` by the windows that label them, in order."""
        begins, ends = self._ramps
        centres = self.centres(pixels)
        first = np.searchsorted(ends, centres, side="right")
        rising = np.zeros(len(centres))
        inner = first < len(ends)
        rising[inner] = np.maximum(centres[inner] - begins[first[inner]], 0)
        blended = rising > 0
        change = np.flatnonzero((np.diff(first) != 0) | (np.diff(blended) != 0)) + 1
        for start, stop in zip([0, *change.tolist()], [*change.tolist(), len(centres)], strict=True):
            span, window = slice(pixels.start + start, pixels.start + stop), int(first[start])
            if not blended[start]:
                yield Stretch(span, (window,), None)
                continue
            weight = rising[start:stop] / (ends[window] - begins[window])
            yield Stretch(span, (window, window + 1), weight.astype(np.float32))

    def blocks(self, windows: int) -> list[slice]:
        """Split the raster's pixels about every `windows` windows, at positions where only one window counts."""
        begins, ends = self._ramps
        inner = range(windows, len(self.starts) - windows // 2 - 1, windows)
        # Only window `index` counts from the end of the ramp before it to the beginning of the next.
        cuts = [round((ends[index - 1] + begins[index]) / 2 * (self.pixels / self.network_pixels)) for index in inner]
        edges = sorted({0, *cuts, self.pixels})
        return [slice(start, stop) for start, stop in pairwise(edges)]

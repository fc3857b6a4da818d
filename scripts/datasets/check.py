"""Read a whole data set once, to find faulty pairs and count its classes."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scripts.datasets.data import VOID, DataError, Sample, SegmentationData
from scripts.progress import progress


@dataclass(frozen=True)
class DataSummary:
    """Counts of a data set, by class index."""

    #: Pixels of each class.
    pixels: tuple[int, ...]
    #: Images with at least one pixel of each class.
    images: tuple[int, ...]
    void_pixels: int
    #: The classes in each sample, by the sample's name.
    present: Mapping[str, frozenset[int]]

    @property
    def absent(self) -> tuple[int, ...]:
        """Return the classes without a pixel."""
        return tuple(index for index, pixels in enumerate(self.pixels) if not pixels)


def check(data: SegmentationData, num_classes: int, *, show_progress: bool) -> DataSummary:
    """Read every pair once, and count.

    Raises:
        DataError: pairs cannot be used; the message lists all of them, one per line.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        histograms = pool.map(lambda sample: _histogram(data, sample, num_classes), data.samples)
        outcomes = list(progress(histograms, "checking", total=len(data), visible=show_progress))
    faults = [str(outcome) for outcome in outcomes if isinstance(outcome, DataError)]
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise DataError(f"{data.root}: {len(faults)} of {len(data)} pairs cannot be used:\n{lines}")
    return _summary(data, np.array(outcomes), num_classes)


def _summary(data: SegmentationData, histograms: npt.NDArray[np.int64], num_classes: int) -> DataSummary:
    """Sum up `histograms`, samples × 256."""
    counts = histograms[:, :num_classes]
    return DataSummary(
        pixels=tuple(counts.sum(0).tolist()),
        images=tuple((counts > 0).sum(0).tolist()),
        void_pixels=int(histograms[:, VOID].sum()),
        present={
            sample.name: frozenset(np.flatnonzero(row).tolist()) for sample, row in zip(data.samples, counts, strict=True)
        },
    )


def _histogram(data: SegmentationData, sample: Sample, num_classes: int) -> npt.NDArray[np.int64] | DataError:
    """Count the 256 values of the mask, or return what is wrong with the pair."""
    try:
        _, mask = data.read(sample)
    except DataError as error:
        return error
    counts = np.bincount(mask.ravel(), minlength=256)
    wrong = [int(index) for index in np.flatnonzero(counts) if num_classes <= index != VOID]
    if wrong:
        named = ", ".join(map(str, wrong[:8])) + (", …" if len(wrong) > 8 else "")
        return DataError(f"{sample.mask}: holds index {named}; must be 0 to {num_classes - 1}, or {VOID} for void")
    return counts

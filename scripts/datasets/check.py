"""Read a whole data set once, to find faulty pairs and count its classes."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scripts.datasets.data import SegmentationData, count_values, value_error
from scripts.datasets.errors import DataError, WrongValues, list_some, pixels
from scripts.datasets.masks import VOID, IndexMasks, Sample
from scripts.datasets.pairs import list_lines
from scripts.progress import progress

_HISTOGRAM_BINS = VOID + 1
_VALUES_ADVICE = (
    "if other values stand for classes or are to be ignored, say so with --mask-values 128=roof,65535=ignore, or with "
    "mask_values: {128: roof, 65535: ignore} below data: in a configuration"
)


@dataclass(frozen=True)
class DataSummary:
    """Counts of a data set, by class index."""

    #: Number of pixels of each class.
    pixels: tuple[int, ...]
    #: Number of images with at least one pixel of each class.
    images: tuple[int, ...]
    void_pixels: int
    #: The classes in each sample, by sample name.
    present: Mapping[str, frozenset[int]]

    @property
    def absent_classes(self) -> tuple[int, ...]:
        """Return the classes that have no pixels."""
        return tuple(index for index, count in enumerate(self.pixels) if not count)

    def describe(self, names: Sequence[str]) -> str:
        """Return a description of the masks' values and their pixel counts."""
        counts = {f"{index} ({name})": count for index, (name, count) in enumerate(zip(names, self.pixels, strict=True))}
        counts_by_value = {**counts, f"{VOID} (ignored)": self.void_pixels}
        return list_some(f"{value} in {pixels(count)}" for value, count in counts_by_value.items() if count)


def check(data: SegmentationData, num_classes: int, *, show_progress: bool) -> DataSummary:
    """Read every pair once, and count pixels and images by class.

    Raises:
        DataError: pairs cannot be used; the message counts them and lists the first ones, one per line.
    """
    if num_classes > VOID:
        raise DataError(f"{data.root}: {num_classes} classes; masks hold at most {VOID}, 0 to {VOID - 1}; {VOID} is void")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        histograms = pool.map(lambda sample: _histogram(data, sample, num_classes), data.samples)
        outcomes = list(progress(histograms, "checking", total=len(data), visible=show_progress))
    faults = [outcome for outcome in outcomes if isinstance(outcome, DataError)]
    if faults:
        advice = f"\n{_VALUES_ADVICE}" if any(isinstance(fault, WrongValues) for fault in faults) else ""
        lines = list_lines(map(str, faults))
        raise DataError(f"{data.root}: {len(faults):,} of {len(data):,} pairs cannot be used:\n{lines}{advice}")
    return _summarise(data, np.array(outcomes), num_classes)


def describe_absence(data: SegmentationData, names: Sequence[str], summary: DataSummary) -> str:
    """Return a description of the classes missing from the masks of `data`, the values they do hold, and what 255 may mean."""
    absent = list_some(f"{names[index]} ({index})" for index in summary.absent_classes)
    text = f"{data.root}: no mask holds {absent}; the masks hold {summary.describe(names)}"
    if summary.void_pixels and isinstance(data.masks, IndexMasks) and VOID not in data.masks.index_of:
        name = names[summary.absent_classes[0]] if len(summary.absent_classes) == 1 else "CLASS"
        text += (
            f'. {VOID} means "ignore" here; if it stands for {name}, say so with --mask-values {VOID}={name}, or with '
            f"mask_values: {{{VOID}: {name}}} below data: in a configuration"
        )
    return text


def _summarise(data: SegmentationData, histograms: npt.NDArray[np.int64], num_classes: int) -> DataSummary:
    """Summarise `histograms`, samples × 256."""
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
        counts = count_values(data.read_pair(sample)[1])
    except DataError as error:
        return error
    if invalid := {value: count for value, count in counts.items() if not (0 <= value < num_classes or value == VOID)}:
        return value_error(sample, invalid, num_classes)
    histogram = np.zeros(_HISTOGRAM_BINS, np.int64)
    histogram[list(counts)] = list(counts.values())
    return histogram

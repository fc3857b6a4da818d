"""Photographs with masks, the same for every layout, and how a pair is read."""

import dataclasses
import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from handler.errors import SegmentationError
from handler.geometry import RGBImage
from handler.image.decode import decode_image
from handler.limits import Limits
from scripts.datasets.errors import DataError, WrongValues, list_some, pixels
from scripts.datasets.masks import VOID, Indices, MaskReader, Sample, upright_size

#: Class indices, H×W; 255 is void.
Mask = npt.NDArray[np.uint8]

_MAX_BINCOUNT_VALUES = 1 << 16


@dataclass(frozen=True)
class SegmentationData:
    """The samples of a data set, or of one of its splits."""

    root: Path
    layout: str
    #: Names by class index, if the data set has them.
    classes: tuple[str, ...] | None
    samples: tuple[Sample, ...]
    masks: MaskReader
    #: The class of all pixels in an image without a mask.
    background: int = 0
    #: Notes for the user on how the data set was read.
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def name(self) -> str:
        """The name of the data set's folder."""
        return self.root.resolve().name

    def read(self, sample: Sample) -> tuple[RGBImage, Mask]:
        """Read a photograph as the server would decode it, uint8 H×W×3, and its class indices, uint8 H×W, 255 for void.

        Raises:
            DataError: a file is missing or cannot be decoded, the two differ in size or EXIF orientation, or the mask holds
                values that are not class indices.
        """
        image, indices = self.read_pair(sample)
        return image, _as_mask(sample, indices)

    def read_mask(self, sample: Sample) -> Mask:
        """Read only the class indices, uint8 H×W, 255 for void.

        Raises:
            DataError: the mask cannot be read, or holds values that are not class indices.
        """
        return _as_mask(sample, self.read_indices(sample))

    def read_pair(self, sample: Sample) -> tuple[RGBImage, Indices]:
        """Read a photograph, uint8 H×W×3, and its mask's values, integers H×W that may not be classes.

        Raises:
            DataError: a file cannot be read, or the two do not fit together.
        """
        image = _read_image(sample.image)
        indices = self.read_indices(sample)
        if image.shape[:2] != indices.shape:
            (height, width), (mask_height, mask_width) = image.shape[:2], indices.shape
            raise DataError(
                f"{sample.mask}: has {mask_width}×{mask_height} pixels for {sample.image.name}, which has {width}×{height}"
            )
        return image, indices

    def read_indices(self, sample: Sample) -> Indices:
        """Read a mask's values, integers H×W that may not be classes.

        Raises:
            DataError: the mask cannot be read.
        """
        return self.masks(sample) if sample.mask else np.full(upright_size(sample.image), self.background, np.uint8)

    def subset(self, samples: Iterable[str | Sample]) -> "SegmentationData":
        """Return the data with only these samples, given by value or by name, in this order.

        Raises:
            DataError: there is no sample with that name.
        """
        by_name = self._by_name()
        names = [sample.name if isinstance(sample, Sample) else sample for sample in samples]
        self._require_samples(names)
        return dataclasses.replace(self, samples=tuple(by_name[name] for name in names))

    def without(self, names: Collection[str]) -> "SegmentationData":
        """Return the data without the samples with these names, in the same order.

        Raises:
            DataError: a name belongs to no sample, so that a misspelt one is not kept by mistake.
        """
        self._require_samples(names)
        excluded = set(names)
        return dataclasses.replace(self, samples=tuple(sample for sample in self.samples if sample.name not in excluded))

    def _by_name(self) -> dict[str, Sample]:
        return {sample.name: sample for sample in self.samples}

    def _require_samples(self, names: Iterable[str]) -> None:
        known = self._by_name()
        unknown = [name for name in dict.fromkeys(names) if name not in known]
        if unknown:
            raise DataError(f"{self.root}: has no sample {list_some(_with_nearest(name, known) for name in unknown)}")


def count_values(indices: Indices) -> dict[int, int]:
    """Return the number of pixels for each value in a mask."""
    if indices.dtype.itemsize > 1 and not 0 <= int(indices.min()) <= int(indices.max()) < _MAX_BINCOUNT_VALUES:
        values, counts = np.unique(indices, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    counts = np.bincount(indices.ravel())
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def value_error(sample: Sample, invalid: dict[int, int], classes: int) -> WrongValues:
    """Return the error for a mask with values that are not classes; `invalid` has their pixel counts."""
    counts = list_some(f"{value} ({pixels(count)})" for value, count in invalid.items())
    return WrongValues(f"{sample.mask}: holds index {counts}; must be 0 to {classes - 1}, or {VOID} for void")


def _as_mask(sample: Sample, indices: Indices) -> Mask:
    if indices.dtype != np.uint8 and not 0 <= int(indices.min()) <= int(indices.max()) <= VOID:
        raise value_error(sample, {value: n for value, n in count_values(indices).items() if not 0 <= value <= VOID}, VOID)
    return indices.astype(np.uint8, copy=False)


def _with_nearest(name: str, known: Collection[str]) -> str:
    """Quote an unknown name and suggest the nearest known one; a data set has too many names to list them all."""
    matches = difflib.get_close_matches(name, known, n=1)
    return f"{name!r} (did you mean {matches[0]!r}?)" if matches else repr(name)


def _read_image(path: Path) -> RGBImage:
    try:
        return decode_image(path.read_bytes(), Limits())
    except (SegmentationError, OSError) as error:
        raise DataError(f"{path}: {error}") from error

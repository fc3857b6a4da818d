"""Photographs with masks, as every layout yields them, and how a pair is read."""

import dataclasses
import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from handler.errors import SegmentationError
from handler.geometry import RGBImage
from handler.image.decode import decode_image
from handler.limits import Limits
from scripts.class_names import ClassNamesError, read_class_names
from scripts.errors import UserError

#: The index of pixels that belong to no class and count for nothing.
VOID = 255
#: H×W class indices, 255 = void.
Mask = npt.NDArray[np.uint8]

_CLASS_FILES = ("classes.txt", "classes.json")
_UPRIGHT = 1
#: Most missing samples named in one error.
_MOST_NAMED = 8


class DataError(UserError):
    """A data set cannot be used. The message names the files and what would be right."""


@dataclass(frozen=True)
class Sample:
    """A photograph and its mask."""

    #: Unique in its data set: the file's name without folder and ending.
    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class SegmentationData:
    """The samples of one data set, or of one split of it."""

    root: Path
    layout: str
    #: Names by class index, if the data set has them.
    classes: tuple[str, ...] | None
    samples: tuple[Sample, ...]
    #: The class index for each of the 256 values of a mask file; None: the value itself.
    index_of: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, sample: Sample) -> tuple[RGBImage, Mask]:
        """Read a photograph, uint8 H×W×3, as the server would decode it, and its class indices, uint8 H×W, 255 = void.

        Raises:
            DataError: a file is missing or cannot be decoded, the two differ in size or in EXIF orientation, or the mask is
                neither palette nor grey.
        """
        image = _read_image(sample.image)
        mask, orientation = _read_mask(sample.mask)
        _require_same_orientation(sample, orientation)
        if image.shape[:2] != mask.shape:
            (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
            raise DataError(
                f"{sample.mask}: has {mask_width}×{mask_height} pixels, its image {sample.image.name} has {width}×{height}"
            )
        if self.index_of is not None:
            mask = np.asarray(self.index_of, np.uint8)[mask]
        return image, mask

    def subset(self, samples: Iterable[str | Sample]) -> "SegmentationData":
        """Return the data with these samples only, in this order; samples are given by value or by name.

        Raises:
            DataError: there is no sample of that name.
        """
        by_name = self._by_name()
        names = [sample.name if isinstance(sample, Sample) else sample for sample in samples]
        self._require(names)
        return dataclasses.replace(self, samples=tuple(by_name[name] for name in names))

    def without(self, names: Collection[str]) -> "SegmentationData":
        """Return the data without the samples of these names, in the same order.

        Raises:
            DataError: there is no sample of one of these names, so a misspelt one is not kept by mistake.
        """
        self._require(names)
        left_out = set(names)
        return dataclasses.replace(self, samples=tuple(sample for sample in self.samples if sample.name not in left_out))

    def _by_name(self) -> dict[str, Sample]:
        return {sample.name: sample for sample in self.samples}

    def _require(self, names: Iterable[str]) -> None:
        known = self._by_name()
        unknown = [name for name in dict.fromkeys(names) if name not in known]
        if unknown:
            named = ", ".join(_with_nearest(name, known) for name in unknown[:_MOST_NAMED])
            more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
            raise DataError(f"{self.root}: has no sample {named}{more}")


def require_files(samples: Iterable[Sample], source: Path) -> tuple[Sample, ...]:
    """Check that the files of all `samples` exist; `source` is the list or folder that names them.

    Raises:
        DataError: there are no samples, a name occurs twice, or files are missing; the message lists these, one per line.
    """
    checked = tuple(samples)
    if not checked:
        raise DataError(f"{source}: names no images")
    names = [sample.name for sample in checked]
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{source}: has more than one {', '.join(repeated)}")
    missing = [path for sample in checked for path in (sample.image, sample.mask) if not path.is_file()]
    if missing:
        lines = "\n".join(f"  {path}" for path in missing)
        raise DataError(f"{source}: {len(missing)} of its images and masks are missing:\n{lines}")
    return checked


def read_list(path: Path) -> list[str]:
    """Read a list of one name per line, without empty lines and the spaces around names."""
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def class_names(root: Path) -> tuple[str, ...] | None:
    """Read the class names in `classes.txt` or `classes.json`; None without such a file."""
    path = next((root / name for name in _CLASS_FILES if (root / name).is_file()), None)
    try:
        return None if path is None else read_class_names(path)
    except ClassNamesError as error:
        raise DataError(str(error)) from error


def _with_nearest(name: str, known: Collection[str]) -> str:
    """Quote an unknown name with the nearest known one; a data set has too many to list them all."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name)


def _read_image(path: Path) -> RGBImage:
    try:
        return decode_image(path.read_bytes(), Limits())
    except (SegmentationError, OSError) as error:
        raise DataError(f"{path}: {error}") from error


def _read_mask(path: Path) -> tuple[Mask, int]:
    """Return the values of the file, upright, and its EXIF orientation."""
    try:
        with Image.open(path) as file:
            _require_indices(file, path)
            upright = ImageOps.exif_transpose(file)
            return np.asarray(upright).astype(np.uint8), _orientation(file)
    except DataError:
        raise
    except Exception as error:
        # Decoders raise errors of many kinds for broken files.
        raise DataError(f"{path}: cannot be read: {error}") from error


def _require_indices(file: Image.Image, path: Path) -> None:
    if file.format == "JPEG":
        raise DataError(f"{path}: a mask cannot be a JPEG, which changes class indices; store it as PNG")
    if file.mode not in {"P", "L", "1"}:
        raise DataError(
            f"{path}: the mask's mode is {file.mode}; it must be palette (P) or 8-bit grey (L), whose pixel values are class "
            "indices. If its colours stand for classes, turn each into its index first"
        )


def _require_same_orientation(sample: Sample, mask_orientation: int) -> None:
    """A tag on only one of the two leaves open whether the mask was drawn on the stored or on the upright pixels."""
    with Image.open(sample.image) as file:
        orientation = _orientation(file)
    if orientation != mask_orientation:
        raise DataError(
            f"{sample.image.name} has EXIF orientation {orientation}, its mask {sample.mask} has {mask_orientation} "
            f"({_UPRIGHT}: upright); store the image upright, as its mask was drawn"
        )


def _orientation(file: Image.Image) -> int:
    return int(file.getexif().get(ExifTags.Base.Orientation, _UPRIGHT))

"""Convert a sample's mask to class indices, whatever its file holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.errors import SegmentationError
from handler.image.decode import open_image
from handler.limits import Limits
from model.metadata import Colour
from scripts.class_names import canonical_name, canonical_names
from scripts.datasets.colour_map import COLORS, LABELMAP, ColourMap, format_colour
from scripts.datasets.errors import DataError, list_some, pixels
from scripts.datasets.mask_files import UPRIGHT, MaskFile, read_mask_file, read_orientation
from scripts.datasets.source import IGNORE, DataSource

#: The index of pixels that belong to no class and are ignored.
VOID = 255
#: Class indices, H×W, 255 for void; a file may hold values that are neither.
Indices = npt.NDArray[np.integer]

_BYTE_VALUES = 256
#: For a colour whose name is not a class, and for a colour without a name.
_NO_CLASS, _NO_NAME = -1, -2
#: More unknown colours than this are a sign of smoothing.
_FEW_COLOURS = 3


@dataclass(frozen=True)
class Sample:
    """A photograph and its mask."""

    #: Unique in the data set: the path relative to the layout's folder, without suffix.
    name: str
    image: Path
    #: None if the whole image is background.
    mask: Path | None


class MaskReader(Protocol):
    """Reads the masks of a data set."""

    def __call__(self, sample: Sample) -> Indices:
        """Return the class index of each pixel of the upright image; 255 is void, and values may not be classes.

        Raises:
            DataError: the mask cannot be read.
        """
        ...


@dataclass(frozen=True)
class IndexMasks:
    """Masks whose values are class indices, or map to them."""

    #: The class index of each value; other values are kept.
    index_of: Mapping[int, int] = field(default_factory=dict)

    def __call__(self, sample: Sample) -> Indices:
        """Read the values of a mask.

        Raises:
            DataError: the file cannot be read, holds colours, or differs from its image in orientation.
        """
        return self.convert(*_read_mask(sample))

    def convert(self, path: Path, file: MaskFile) -> Indices:
        """Return the class indices of a mask read from `path`.

        Raises:
            DataError: the mask holds colours.
        """
        if file.values is None:
            raise DataError(
                f"{path}: holds colours ({_list_colours(file)}); to say which class each stands for, write {COLORS} into the "
                f"data set's folder, one `name r g b` per line, or put CVAT's {LABELMAP} there"
            )
        if not self.index_of:
            return file.values
        if file.values.dtype == np.uint8:
            table_indices: Indices = self._table[file.values]
            return table_indices
        indices = file.values.astype(np.int64)
        for value, index in self.index_of.items():
            indices[file.values == value] = index
        return indices

    @cached_property
    def _table(self) -> npt.NDArray[np.uint8]:
        """Class indices of all 8-bit values."""
        return np.array([self.index_of.get(value, value) for value in range(_BYTE_VALUES)], np.uint8)


@dataclass(frozen=True)
class ColourMasks:
    """Masks whose colours stand for classes. Grey files hold indices, unless the colour map has grey colours."""

    colour_map: ColourMap
    classes: tuple[str, ...]

    def __call__(self, sample: Sample) -> Indices:
        """Look up the colours of a mask.

        Raises:
            DataError: the file cannot be read or differs from its image in orientation, or a colour has no class.
        """
        path, file = _read_mask(sample)
        if file.colours is None and (file.palette is None or (file.is_grey and not self.colour_map.has_grey)):
            return IndexMasks().convert(path, file)
        indices = self._look_up(file)
        if indices.min() < 0:
            raise self._unknown_colours_error(path, file.as_colours(), indices)
        return indices

    def _look_up(self, file: MaskFile) -> npt.NDArray[np.int16]:
        """Return class indices; colours without a class get negative ones."""
        keys, indices = self._table
        colours = file.palette if file.colours is None else file.colours
        packed = _pack(np.zeros((0, 3), np.uint8) if colours is None else colours)
        positions = np.searchsorted(keys, packed).clip(max=len(keys) - 1)
        class_indices: npt.NDArray[np.int16] = np.where(keys[positions] == packed, indices[positions], np.int16(_NO_NAME))
        if file.colours is not None or file.values is None:
            return class_indices
        # Values beyond the palette have no colour.
        index_by_value = np.full(_BYTE_VALUES, _NO_NAME, np.int16)
        index_by_value[: len(class_indices)] = class_indices
        pixel_indices: npt.NDArray[np.int16] = index_by_value[file.values]
        return pixel_indices

    @cached_property
    def _table(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        """The packed colours in ascending order, and their class indices."""
        entries = sorted(
            (int(_pack(np.array(colour, np.uint8))), self._index(name)) for colour, name in self.colour_map.names.items()
        )
        keys, indices = zip(*entries, strict=True)
        return np.array(keys, np.int32), np.array(indices, np.int16)

    def _index(self, name: str | None) -> int:
        index = VOID if name is None else class_index(name, self.classes)
        return _NO_CLASS if index is None else index

    def _unknown_colours_error(self, path: Path, colours: npt.NDArray[np.uint8], indices: Indices) -> DataError:
        """Return an error that describes the colours without a class."""
        unknown_pixels = np.flatnonzero(indices.ravel() < 0)
        unknown_colours, first, counts = np.unique(
            _pack(colours).ravel()[unknown_pixels], return_index=True, return_counts=True
        )
        width, names, faults = indices.shape[1], self.colour_map.names, []
        for position in np.argsort(-counts, kind="stable"):
            y, x = divmod(int(unknown_pixels[first[position]]), width)
            colour = _unpack(int(unknown_colours[position]))
            description = f" ({names[colour]!r}, which is not a class)" if colour in names else ""
            faults.append(f"{format_colour(colour)}{description} in {pixels(counts[position])}, first at x {x}, y {y}")
        file = self.colour_map.path.name
        advice = f"add a line to {file} if it is meant, as a class or as void"
        if len(faults) > _FEW_COLOURS:
            advice = "such shades come from smoothing (antialiasing), resizing or JPEG: export the mask again without them"
        return DataError(f"{path}: colours without a class in {file}: {list_some(faults, 3)}; {advice}")


def upright_size(image: Path) -> tuple[int, int]:
    """Return an image's height and width as displayed, without decoding pixels.

    Raises:
        DataError: the server would not accept the image.
    """
    try:
        return open_image(image.read_bytes(), Limits()).size
    except (SegmentationError, OSError) as error:
        raise DataError(f"{image}: {error}") from error


def class_index(name: str, classes: Sequence[str]) -> int | None:
    """Return the index of class `name`, ignoring case and spellings of background, or None if there is no such class."""
    name, names = canonical_name(name), canonical_names(classes)
    if name in names:
        return names.index(name)
    return next((index for index, candidate in enumerate(names) if candidate.casefold() == name.casefold()), None)


def index_masks(source: DataSource, classes: Sequence[str] | None) -> IndexMasks:
    """Return a reader of index masks that applies the source's `mask_values`.

    Raises:
        DataError: `mask_values` names something that is not a class.
    """
    return IndexMasks({value: _index(value, meaning, classes) for value, meaning in source.mask_values.items()})


def _index(value: int, meaning: int | str, classes: Sequence[str] | None) -> int:
    if meaning == IGNORE:
        return VOID
    index = class_index(meaning, classes or ()) if isinstance(meaning, str) else meaning
    allowed = f"one of the classes {', '.join(classes)}, their index" if classes else "an index"
    if index is None or not 0 <= index < (len(classes) if classes else VOID):
        raise DataError(f"mask_values: {value} stands for {meaning!r}; it must be {allowed} or {IGNORE!r}")
    return index


def _read_mask(sample: Sample) -> tuple[Path, MaskFile]:
    if sample.mask is None:
        raise DataError(f"{sample.image}: has no mask")
    file = read_mask_file(sample.mask)
    orientation = _photograph_orientation(sample.image)
    # With a tag on only one of them, it is unclear whether the mask was drawn on the stored or the upright pixels.
    if orientation != file.orientation:
        raise DataError(
            f"{sample.image.name} has EXIF orientation {orientation}, its mask {sample.mask} has {file.orientation} "
            f"({UPRIGHT}: upright); store the image upright, as its mask was drawn"
        )
    return sample.mask, file


def _photograph_orientation(path: Path) -> int:
    try:
        with Image.open(path) as image:
            return read_orientation(image)
    except (OSError, ValueError):
        # Images in formats unknown to Pillow have masks of the upright image.
        return UPRIGHT


def _pack(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Return each colour …×3 as one number."""
    wide = colours.astype(np.int32)
    packed: npt.NDArray[np.int32] = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    return packed


def _unpack(packed: int) -> Colour:
    return packed >> 16, packed >> 8 & 255, packed & 255


def _list_colours(file: MaskFile) -> str:
    """Return the most frequent colours, as written in `colors.txt`."""
    packed, counts = np.unique(_pack(file.as_colours()), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return list_some([f"{format_colour(_unpack(int(packed[i])))} in {pixels(counts[i])}" for i in order], _FEW_COLOURS)

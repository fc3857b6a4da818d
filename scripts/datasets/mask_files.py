"""Read a mask's image file: its raw values or colours, before they are mapped to classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from handler.image.file_formats.tiff import add_georeference
from scripts.datasets.errors import DataError

UPRIGHT = 1
_OPAQUE = 255
_LOSSY = {"JPEG", "MPO"}
#: Pillow scales 2-bit and 4-bit grey to 0..255; these factors recover the values in the file.
_SCALE_FACTORS = {"L;2": 85, "L;4": 17}
_GREY = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
_BYTE_MODES = {"1", "P", "PA", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"}
_TIFF_SUFFIXES = {".tif", ".tiff"}


@dataclass(frozen=True)
class MaskFile:
    """The content of a mask's file, turned upright."""

    #: The file's EXIF orientation, 1 to 8.
    orientation: int
    #: Integers H×W: grey values, or indices into a palette; None if the pixels only have colours.
    values: npt.NDArray[np.integer] | None = None
    #: uint8 N×3, the colour of each value; None if values have no colours.
    palette: npt.NDArray[np.uint8] | None = None
    #: uint8 H×W×3; None if the pixels only have values.
    colours: npt.NDArray[np.uint8] | None = None

    @property
    def is_grey(self) -> bool:
        """Whether the file is stored in grey."""
        return self.colours is None and (self.palette is None or bool((self.palette == self.palette[:, :1]).all()))

    def as_colours(self) -> npt.NDArray[np.uint8]:
        """Return the displayed colours, uint8 H×W×3; values beyond the palette are black."""
        if self.colours is not None or self.values is None or self.palette is None:
            return np.zeros((0, 0, 3), np.uint8) if self.colours is None else self.colours
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.palette)] = self.palette
        colours: npt.NDArray[np.uint8] = table[self.values]
        return colours


def read_mask_file(path: Path) -> MaskFile:
    """Read a mask in grey of any depth, with a palette, or in RGB. Grey stored as RGB is treated as grey.

    Raises:
        DataError: the file cannot be decoded, is a JPEG, is partly transparent, or holds fractions.
    """
    try:
        with Image.open(path) as file:
            _require_lossless(file, path)
            # Reading a PNG's orientation loads its pixels.
            scale, orientation = _SCALE_FACTORS.get(_raw_mode(file), 1), read_orientation(file)
            if file.format == "TIFF" and file.mode not in _BYTE_MODES and orientation == UPRIGHT:
                return MaskFile(orientation, _require_integers(_read_deep_tiff(path), path))
            return _mask_file(ImageOps.exif_transpose(file), orientation, scale, path)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        if path.suffix.casefold() not in _TIFF_SUFFIXES:
            raise DataError(
                f"{path}: cannot be read: it is not an image, or its beginning is damaged; masks are PNG or TIFF files"
            ) from error
        return MaskFile(UPRIGHT, _require_integers(_read_deep_tiff(path), path))
    except Exception as error:
        # Decoders raise many kinds of errors for broken files.
        raise DataError(f"{path}: cannot be read: {error}") from error


def read_orientation(file: Image.Image) -> int:
    """Return a file's EXIF orientation, 1 to 8. Call it before loading the pixels, which rotates a TIFF."""
    return int(file.getexif().get(ExifTags.Base.Orientation, UPRIGHT))


def _require_lossless(file: Image.Image, path: Path) -> None:
    if file.format in _LOSSY or file.info.get("compression") == "jpeg":
        raise DataError(f"{path}: a mask cannot be a JPEG, which changes class indices and colours; store it as PNG")


def _raw_mode(file: ImageFile) -> str:
    """Return how Pillow unpacks the file's samples. Call it before loading the pixels."""
    arguments = file.tile[0].args if file.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _mask_file(file: Image.Image, orientation: int, scale: int, path: Path) -> MaskFile:
    # A transparent colour or palette entry only matters for display.
    file.info.pop("transparency", None)
    if file.mode == "P":
        return MaskFile(orientation, np.asarray(file), np.array(file.getpalette("RGB") or [], np.uint8).reshape(-1, 3))
    if file.mode in {"LA", "PA", "RGBA", "RGB"}:
        return _colour_mask_file(np.asarray(file.convert("RGBA")), orientation, path)
    if file.mode not in {"1", "L", "I", "F"} and not file.mode.startswith("I;16"):
        raise DataError(f"{path}: the mask's mode is {file.mode}; it must be grey, palette or RGB")
    values = np.asarray(file)
    if file.mode == "1":
        return MaskFile(orientation, values.astype(np.uint8), _GREY[[0, 255]])
    integers = _require_integers(values, path)
    return MaskFile(orientation, integers // scale if scale > 1 else integers, _GREY if file.mode == "L" else None)


def _colour_mask_file(rgba: npt.NDArray[np.uint8], orientation: int, path: Path) -> MaskFile:
    alpha = rgba[..., 3]
    if (count := np.count_nonzero(alpha != _OPAQUE)) > 0:
        raise DataError(f"{path}: {count:,} pixels of the mask are transparent; store it without transparency")
    colours = np.ascontiguousarray(rgba[..., :3])
    is_grey = bool((colours == colours[..., :1]).all())
    return MaskFile(orientation, colours[..., 0] if is_grey else None, None, colours)


def _require_integers(values: npt.NDArray[Any], path: Path) -> npt.NDArray[np.integer]:
    if values.dtype.kind != "f":
        return values
    integers = values.astype(np.int64, casting="unsafe") if np.isfinite(values).all() else None
    if integers is None or not (integers == values).all():
        raise DataError(f"{path}: holds fractions; a mask holds class indices, which are whole numbers")
    return integers


def _read_deep_tiff(path: Path) -> npt.NDArray[Any]:
    """Read a TIFF with over 8 bits per value: Pillow lacks 64 bits, and swaps the bytes of some compressed files."""
    try:
        # rasterio warns about files without a georeference.
        with MemoryFile(add_georeference(path.read_bytes())) as memory, memory.open(driver="GTiff") as file:
            if file.count != 1:
                raise DataError(f"{path}: has {file.count} bands of {file.dtypes[0]}; a mask has one band, or RGB of 8 bits")
            band: npt.NDArray[Any] = file.read(1)
            return band
    except RasterioError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error

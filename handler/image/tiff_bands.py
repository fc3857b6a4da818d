"""Read TIFFs with any number of bands and any sample type, with GDAL through rasterio.

Pillow reads pictures: up to four bands of one of a dozen kinds. rasterio, imported for the first file that needs it, reads the
rest. It sees a single page in memory, without the tags that would make GDAL open other files, and only the TIFF driver.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from handler.errors import InvalidImage, InvalidOption
from handler.geometry import RGBImage
from handler.image.colour import blend_over_white, looks_like_alpha
from handler.image.file_formats import StrippedImage
from handler.image.file_formats.tiff import add_georeference
from handler.image.pillow_files import open_file, unsupported_format
from handler.image.sample_range import SampleRange, Samples, auto_range, sampling_step, to_eight_bits
from handler.image.tiff_layout import WHITE_IS_ZERO, TiffLayout, find_samples_end, read_layout
from handler.image.tiff_samples import LibtiffImageFile
from handler.options import AUTO_RANGE, FIRST_BANDS, TYPE_RANGE, ReadingOptions
from handler.strips import row_strips

logger = logging.getLogger(__name__)

#: Pixels read at once, unless a tile or strip has more.
_WINDOW_PIXELS = 1 << 20
_GDAL = {
    # GDAL must not look for other files, and libjpeg's warnings, such as for a truncated strip, are errors.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    "GDAL_PAM_ENABLED": "NO",
}


def open_tiff(data: bytes, stripped: StrippedImage, options: ReadingOptions) -> "ImageFile | TiffBands":
    """Read a TIFF's tags, but no samples; use Pillow for a picture without chosen bands or range, else GDAL.

    Args:
        data: the file.
        stripped: the part of the file that a decoder may see.
        options: the bands and the values to show.

    Raises:
        InvalidImage: the header is truncated or broken, or of a kind that neither reads; the message names it.
        UnsupportedImageFormat: the file is a camera raw file.
    """
    layout = read_layout(data)
    if layout is None:
        return open_file(stripped.data)
    if layout.is_camera_raw:
        raise unsupported_format("camera raw files (such as DNG)")
    bands = TiffBands(stripped.data, layout) if layout.has_plain_bands else None
    if bands and not (layout.is_picture and options.bands == FIRST_BANDS and options.range == TYPE_RANGE):
        return bands
    try:
        file = open_file(stripped.data)
    except InvalidImage as error:
        if bands:
            return bands
        reason = layout.fault or "only grey, RGB, palette, CMYK, YCbCr and L*a*b* of usual depths are read"
        raise decoding_error(layout, reason) from error
    if isinstance(file, LibtiffImageFile):
        file.layout, file.samples_end = layout, find_samples_end(data)
    return file


@dataclass(frozen=True)
class TiffBands:
    """A TIFF file whose bands are shown as a request specifies. Nothing is decoded yet."""

    data: bytes
    layout: TiffLayout

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.layout.width, self.layout.height

    def check_bands(self, options: ReadingOptions) -> None:
        """Raise InvalidOption if the file lacks a band that `options` names."""
        require_bands(options, self.layout.bands, f"the TIFF has {self.layout}")

    def write_rgb(self, options: ReadingOptions, out: RGBImage) -> None:
        """Decode the bands named in `options` and write them as RGB over white into `out`, uint8 H×W×3, any view of an array.

        Raises:
            InvalidImage: the file is truncated or broken.
        """
        layout = self.layout
        # Check this before a directory is appended, which would take the place of missing samples.
        check_complete(self.data, layout)
        has_custom_bands = options.bands != FIRST_BANDS
        bands: tuple[int, ...] = layout.default_bands if isinstance(options.bands, str) else options.bands
        alpha = None if has_custom_bands else layout.alpha
        # A profile describes the bands in their original order and range.
        profile = layout.icc_profile if not has_custom_bands and options.range == TYPE_RANGE else b""
        with _open_with_gdal(self) as file:
            if layout.alpha_is_uncertain and alpha and not looks_like_alpha(self._read_sample(file, (alpha,)), layout.white):
                alpha = None
            sample_range = self._find_range(file, options, bands, alpha)
            for rows, samples in self._read_strips(file, (*bands, *((alpha,) if alpha else ()))):
                colour = to_eight_bits(samples[: len(bands)], sample_range)
                if layout.photometric == WHITE_IS_ZERO:
                    colour = 255 - colour
                opacity = to_eight_bits(samples[-1], (0, layout.white)) if alpha else None
                picture = Image.fromarray(colour[0] if len(bands) == 1 else np.ascontiguousarray(np.moveaxis(colour, 0, -1)))
                out[rows] = blend_over_white(picture, opacity, profile, premultiplied=layout.alpha_is_premultiplied)

    def _find_range(self, file: Any, options: ReadingOptions, bands: tuple[int, ...], alpha: int | None) -> SampleRange:
        if options.range == TYPE_RANGE:
            return 0.0, float(self.layout.white)
        if options.range != AUTO_RANGE:
            return options.range
        samples = self._read_sample(file, (*bands, *((alpha,) if alpha else ())))
        colour = samples[: len(bands)]
        is_valid = np.ones(colour.shape, np.bool_)
        if self.layout.nodata is not None:
            is_valid &= colour != self.layout.nodata
        if alpha:
            is_valid &= samples[-1] > 0
        return auto_range([colour[is_valid]])

    def _read_sample(self, file: Any, bands: tuple[int, ...]) -> Samples:
        """Return the samples at a grid of pixels, n×h×w."""
        step = sampling_step(self.layout.width * self.layout.height)
        # From each strip, take the rows on the whole image's grid.
        return np.concatenate(
            [samples[:, -rows.start % step :: step, ::step] for rows, samples in self._read_strips(file, bands)], 1
        )

    def _read_strips(self, file: Any, bands: tuple[int, ...]) -> Iterator[tuple[slice, Samples]]:
        """Yield strips of whole block rows: the rows and their samples, n×h×w."""
        from rasterio.windows import Window

        width, height = self.size
        block_rows = int(file.block_shapes[0][0])
        rows_at_once = max(1, _WINDOW_PIXELS // (width * block_rows)) * block_rows
        for top in range(0, height, rows_at_once):
            rows = slice(top, min(top + rows_at_once, height))
            with _translate_gdal_errors(self):
                samples = file.read(list(bands), window=Window(0, top, width, rows.stop - top))
            for strip in row_strips(rows.stop - top, width, _WINDOW_PIXELS):
                yield slice(top + strip.start, top + strip.stop), samples[:, strip]


def require_bands(options: ReadingOptions, bands: int, subject: str) -> None:
    """Raise InvalidOption if `options` names a band beyond the image's `bands`; `subject` states their number for the error."""
    if not isinstance(options.bands, str) and max(options.bands) > bands:
        raise InvalidOption(f"option 'bands': there is no band {max(options.bands)}; {subject}")


@contextmanager
def _open_with_gdal(bands: TiffBands) -> Iterator[Any]:
    """Open the file with GDAL and check that GDAL agrees with the `TiffLayout` that was used to check the cost."""
    import rasterio
    from rasterio.io import MemoryFile

    layout = bands.layout
    with rasterio.Env(**_GDAL), MemoryFile(add_georeference(bands.data)) as memory:
        with _translate_gdal_errors(bands):
            file = memory.open(driver="GTiff")
        with file:
            rows, columns = file.block_shapes[0]
            gdal_size = (file.width, file.height, file.count)
            if gdal_size != (layout.width, layout.height, layout.bands) or rows * columns > layout.block[0] * layout.block[1]:
                raise InvalidImage("the TIFF's tags contradict each other about its size")
            yield file


@contextmanager
def _translate_gdal_errors(bands: TiffBands) -> Iterator[None]:
    """Turn any of rasterio's errors in the block into `InvalidImage`. Only calls to rasterio belong in such a block."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        logger.info("image refused: %r", cause)
        raise decoding_error(bands.layout, "its samples are broken") from error


def decoding_error(layout: TiffLayout, reason: str) -> InvalidImage:
    """Return the error for a TIFF whose samples cannot be decoded."""
    return InvalidImage(f"the TIFF ({layout.describe()}) cannot be decoded: {reason}")


def check_complete(data: bytes, layout: TiffLayout) -> None:
    """Raise InvalidImage if samples lie beyond the end of the file."""
    end = find_samples_end(data)
    if end > len(data):
        raise decoding_error(layout, f"it is truncated: its samples end at byte {end:,}, the file has {len(data):,}")

"""Decode a file's bytes to an upright RGB image in two steps: `open_image` reads the header, `OpenedImage.decode` the pixels.

A file is first reduced to the parts that make up its first image (handler.image.file_formats), then passed to Pillow, so that
an allow-list limits what a decoder can see. libvips could replace much of this code, but not the list.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from handler.errors import ImageTooLarge, InvalidImage
from handler.geometry import Box, DecodedImage, RGBImage, Size
from handler.image.colour import SampleEncoding, looks_like_alpha, write_rgb
from handler.image.file_formats import StrippedImage, format_name, strip_to_first_image
from handler.image.file_formats.tiff import read_orientation
from handler.image.pillow_files import ACCEPTED_FORMATS, open_file, translate_pillow_errors
from handler.image.tiff_bands import TiffBands, open_tiff, require_bands
from handler.image.tiff_samples import LibtiffImageFile
from handler.limits import Limits
from handler.options import ReadingOptions

__all__ = ["ACCEPTED_FORMATS", "OpenedImage", "convert_image", "decode_image", "open_image"]

_Length = TypeVar("_Length", int, float)
_DEFAULT_READING = ReadingOptions()

#: Views of an upright array in the file's order, by EXIF orientation: writing into the view turns the image.
_STORED_VIEWS: dict[int, Callable[[RGBImage], RGBImage]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright.transpose(1, 0, 2)[::-1],
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: upright.transpose(1, 0, 2)[:, ::-1],
}
_SIDEWAYS = (5, 6, 7, 8)
#: For each corner of an upright image, whether it is at the bottom, and whether it is on the right.
_CORNERS: RGBImage = np.moveaxis(np.indices((2, 2), np.uint8), 0, -1)

#: A reduced copy has at least twice the requested height and width. A smaller one would look visibly different once resized,
#: and save little time (docs/performance.md).
_MIN_OVERSAMPLING = 2

#: Bytes of unpacked TIFF samples allowed per pixel of the limit: enough for 16-bit colour with alpha.
_BYTES_PER_PIXEL = 8
#: Modes of one band, with or without alpha.
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")

#: The most pixels or bytes of a run-length encoded BMP, which Pillow decodes in Python: five million take about two seconds.
_MAX_RLE_UNITS = 5_000_000
_RLE_COMPRESSIONS = (1, 2)


def open_image(data: bytes, limits: Limits, options: ReadingOptions = _DEFAULT_READING) -> "OpenedImage":
    """Read the header of an image file and check its size, without decoding anything.

    Args:
        data: the file.
        limits: the limits on its bytes, pixels and side.
        options: the bands to show, and the values to show as black and white.

    Raises:
        InvalidOption: `options` names a band that the file does not have.
        ImageTooLarge: the file has more bytes or pixels, or a longer side, than `limits` allow.
        UnsupportedImageFormat: the format is not in `ACCEPTED_FORMATS`.
        InvalidImage: the file is not an image, or its header is truncated or broken.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the image has {len(data):,} bytes, the limit is {limits.max_bytes:,}")
    stripped = strip_to_first_image(data)
    file = open_tiff(data, stripped, options) if format_name(data) == "TIFF" else open_file(stripped.data)
    _check_size(file, limits)
    _check_run_length_encoding(file, len(data))
    _check_bands(file, options)
    return OpenedImage(file, stripped, options)


def decode_image(data: bytes, limits: Limits) -> RGBImage:
    """Open and decode an image file in full: uint8 H×W×3. Raises the errors of `open_image` and `OpenedImage.decode`."""
    return open_image(data, limits).decode().pixels


def convert_image(image: Image.Image, options: ReadingOptions = _DEFAULT_READING) -> RGBImage:
    """Convert a Pillow image of any mode to upright sRGB, uint8 H×W×3, as `OpenedImage.decode` does.

    Raises:
        InvalidOption: `options` names a band that the image does not have.
    """
    _check_bands(image, options)
    exif_orientation = read_orientation(image.info.get("exif", b""))
    stored_view = _STORED_VIEWS[exif_orientation]
    size = image.size if exif_orientation in _SIDEWAYS else image.size[::-1]
    upright = np.empty((*size, 3), np.uint8)
    encoding = SampleEncoding(image.info.get("icc_profile") or b"", image.info.get("transparency"))
    write_rgb(image, encoding, stored_view(upright), options)
    return upright


class OpenedImage:
    """An image file within the limits, with its header read but no pixels decoded; it holds memory, but no open file."""

    #: Height and width of the upright image.
    size: Size
    #: The pixels of the image; more if decoding needs as much memory as a larger image, such as for a TIFF with many bands.
    pixels: int

    def __init__(self, file: ImageFile | TiffBands, stripped: StrippedImage, options: ReadingOptions) -> None:
        self._file: ImageFile | TiffBands | None = file
        self._options = options
        self._profile = stripped.profile
        exif = stripped.exif if stripped.exif or isinstance(file, TiffBands) else file.info.get("exif")
        # HEIF's reader turns the image according to its boxes and resets EXIF; AVIF's copies the boxes' orientation to EXIF.
        self._orientation = read_orientation(exif or b"")
        self.size = self._transpose(file.size[::-1])
        unpacked = file.layout.unpacked_bytes if isinstance(file, TiffBands) else 0
        self.pixels = max(self.size[0] * self.size[1], unpacked // _BYTES_PER_PIXEL)

    def decode(self, min_size: Size | None = None) -> DecodedImage:
        """Decode the first image of the file, upright and in sRGB: uint8 H×W×3. This works only once.

        GDAL reads TIFFs of kinds that Pillow does not read, and those for which bands or a range are chosen (tiff_bands).

        - First image: the first frame of an animation, page of a TIFF, image of a multi-picture JPEG (MPO).
        - Upright: the orientation in EXIF, or in a TIFF's tag, is applied. A broken EXIF block is ignored.
        - 8 bits: 16-bit grey is divided by 257 and 12-bit grey by 16.06, rounded. 16-bit colour, and grey with alpha, keep
          their upper byte, which is at most 1 less (3 where alpha is premultiplied). 32-bit integers are read as 0..65,535
          and floats as 0..1; values outside are clipped, and NaN is black.
        - sRGB: through the file's ICC profile, with perceptual intent, if it is intact and fits the samples (grey, RGB, CMYK or
          L*a*b*). Without a profile, RGB and grey are taken as sRGB, CMYK as the complement of RGB (inverted in JPEG, as Adobe
          writes it), and L*a*b* as relative to D50.
        - Opaque: any transparency is blended over white. The transparent colour of 16-bit RGB is compared by upper bytes.

        A truncated file is refused, not padded. So are kinds that neither Pillow nor GDAL reads correctly: TIFFs with complex
        numbers, with bands of different types, or in colour spaces other than grey, RGB, palette, CMYK, YCbCr and L*a*b* at
        the usual depths; 12-bit and lossless JPEGs; BMPs that embed JPEG or PNG.

        Memory use, in addition to the file and its stripped copy: 3 bytes per pixel of the result, and what Pillow holds while
        it decodes: 1 to 4 bytes per pixel (up to 16 in WebP), and a strip of a TIFF.

        Args:
            min_size: minimum height and width of the upright result, or None to decode in full. A JPEG is decoded at a half, a
                quarter or an eighth of its size if that is still at least twice the minimum, any other format in full.

        Raises:
            InvalidImage: the file is truncated or broken.
        """
        file, self._file = self._file, None
        if file is None:
            raise ValueError("the image has been decoded already")
        stored_view = _STORED_VIEWS[self._orientation]
        if isinstance(file, TiffBands):
            upright = np.empty((*self.size, 3), np.uint8)
            file.write_rgb(self._options, stored_view(upright))
            return DecodedImage.from_pixels(upright)
        extent = self._transpose(_reduce_jpeg(file, self._transpose(min_size))) if min_size else self.size
        reduced_size = file.size
        with translate_pillow_errors():
            file.load()
        if file.size != reduced_size:
            raise InvalidImage(f"the image is not of the size that its header states, {reduced_size[0]}×{reduced_size[1]}")
        upright = np.empty((*self._transpose(file.size[::-1]), 3), np.uint8)
        write_rgb(file, self._encoding(file), stored_view(upright), self._options)
        return DecodedImage(upright, self.size, self._locate_image(extent, upright))

    def _transpose(self, size: tuple[_Length, _Length]) -> tuple[_Length, _Length]:
        """Convert (height, width) of the upright image to (height, width) in the file, or vice versa."""
        return size[::-1] if self._orientation in _SIDEWAYS else size

    def _encoding(self, file: ImageFile) -> SampleEncoding:
        profile, transparency = self._profile or file.info.get("icc_profile"), file.info.get("transparency")
        profile = profile if isinstance(profile, bytes) else b""
        if isinstance(file, LibtiffImageFile):
            return SampleEncoding(profile, transparency, file.white, file.zero_is_white, ignores_alpha=_ignores_alpha(file))
        return SampleEncoding(profile, transparency, step=257 if ";16" in str(file.tile and file.tile[0].args) else 1)

    def _locate_image(self, extent: tuple[float, float], upright: RGBImage) -> Box:
        """Locate the image, with height and width `extent`, in `upright`, which may be up to a pixel larger.

        The extra pixels are at the end of the file's rows and columns, which can be on any side after turning.
        """
        (height, width), (rows, columns) = extent, upright.shape[:2]
        from_bottom, from_right = _STORED_VIEWS[self._orientation](_CORNERS)[0, 0]
        top, left = (rows - height if from_bottom else 0), (columns - width if from_right else 0)
        return left, top, left + width, top + height


def _reduce_jpeg(file: ImageFile, min_size: Size) -> tuple[float, float]:
    """Configure a JPEG to decode at the smallest sufficient scale; return the image's exact height and width at that scale."""
    height, width = min_size
    draft_size = (_MIN_OVERSAMPLING * width, _MIN_OVERSAMPLING * height)
    reduced = file.draft(None, draft_size) if isinstance(file, JpegImageFile) else None
    if reduced is None:
        return file.height, file.width
    _, (_, _, right, bottom) = reduced
    return bottom, right


def _ignores_alpha(file: LibtiffImageFile) -> bool:
    """Whether Pillow's alpha is a measured band: not tagged as alpha, or only by GDAL's default and with other values."""
    if file.layout is None or "A" not in file.getbands():
        return False
    if file.layout.alpha is None:
        return True
    return file.layout.alpha_is_uncertain and not looks_like_alpha(np.asarray(file.getchannel("A")), 255)


def _check_bands(image: Image.Image | TiffBands, options: ReadingOptions) -> None:
    if isinstance(image, TiffBands):
        image.check_bands(options)
    elif image.mode in _GREY_MODES:
        require_bands(options, 1, "the image is grey and has 1")
    else:
        require_bands(options, 3, "the image has 3: red, green and blue")


def _check_size(file: ImageFile | TiffBands, limits: Limits) -> None:
    limits.check_size(*file.size)
    if isinstance(file, TiffBands):
        _check_sample_bytes(file, _BYTES_PER_PIXEL * limits.max_pixels)
    if isinstance(file, LibtiffImageFile):
        limits.check_pixels("the image has tiles of", *file.tile_size)


def _check_sample_bytes(file: TiffBands, limit: int) -> None:
    layout = file.layout
    if layout.unpacked_bytes > limit:
        raise ImageTooLarge(
            f"{layout.width}×{layout.height} pixels of {layout} take {layout.unpacked_bytes:,} bytes, the limit is {limit:,}"
        )
    if layout.block_bytes > limit:
        columns, rows = layout.block
        raise ImageTooLarge(
            f"the image has tiles of {columns}×{rows} pixels of {layout}, {layout.block_bytes:,} bytes, the limit is {limit:,}"
        )


def _check_run_length_encoding(file: ImageFile | TiffBands, file_bytes: int) -> None:
    if isinstance(file, ImageFile) and file.format == "BMP" and file.info["compression"] in _RLE_COMPRESSIONS:
        largest = max(file_bytes, file.width * file.height)
        if largest > _MAX_RLE_UNITS:
            raise ImageTooLarge(f"the run-length encoded BMP has {largest:,} pixels or bytes, the limit is {_MAX_RLE_UNITS:,}")

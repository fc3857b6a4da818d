"""From a file's bytes to an upright RGB image."""

import io
import logging
import warnings
from collections.abc import Callable
from typing import NoReturn, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from handler.errors import ImageTooLarge, InvalidImage, SegmentationError, UnsupportedImageFormat
from handler.geometry import Box, DecodedImage, RGBImage, Size
from handler.image import tiff_samples
from handler.image.colour import Samples, write_rgb
from handler.image.file_formats import StrippedImage, first_picture
from handler.image.file_formats.tiff import orientation
from handler.limits import Limits

_Length = TypeVar("_Length", int, float)

logger = logging.getLogger(__name__)

ACCEPTED_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_ACCEPTED_TEXT = "JPEG, PNG, WebP, BMP, GIF and TIFF are"

#: How an upright array looks as it is stored, by EXIF orientation: a view, so that writing into it turns the picture.
_AS_STORED: dict[int, Callable[[RGBImage], RGBImage]] = {
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
#: For each corner of an upright picture, whether it is at the bottom, and whether on the right.
_CORNERS: RGBImage = np.moveaxis(np.indices((2, 2), np.uint8), 0, -1)

#: A smaller copy has at least so many times the height and the width that are needed. Where it is nearer, what is resized
#: from it differs more, without being much sooner there (docs/performance.md).
_MARGIN = 2

#: Pixels and bytes of a run-length encoded BMP, which Pillow decodes in Python: five million take about two seconds.
_MAX_RLE = 5_000_000
_RLE_COMPRESSIONS = (1, 2)

# Pillow's own guard knows one limit for the whole process and raises before the size can be named. `_require_size` checks
# the size of every image right after its header, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
Image.init()


def silence_pillow() -> None:
    """Ignore what Pillow warns of: metadata that is of no use here, or what comes as an error all the same.

    Once for the process, because `warnings.catch_warnings` is not safe where threads decode side by side.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


silence_pillow()


def decode_image(data: bytes, limits: Limits) -> RGBImage:
    """The image itself, as `decode` gives it where no smaller copy will do: uint8 H×W×3."""
    return decode(data, limits).pixels


def decode(data: bytes, limits: Limits, needed: Callable[[Size], Size] | None = None) -> DecodedImage:
    """Decode the first picture of an image file, upright and in sRGB: uint8 H×W×3.

    - The first picture: the first frame of an animation, page of a TIFF, image of a multi-picture JPEG (MPO).
    - Upright: the orientation of its EXIF block, or of a TIFF's own tag, is applied; a broken block is none.
    - Scaled to 8 bits: 16-bit grey is divided by 257 and 12-bit grey by 16.06, rounded; of 16-bit colour and grey with alpha,
      the upper byte is taken, which is at most 1 less (3 where the alpha is premultiplied). Integers of 32 bits are taken to
      hold 16, floats to lie in 0..1; what lies outside is clipped, and NaN is black.
    - In sRGB: by the file's ICC profile if it has one that is whole and fits its samples (grey, RGB, CMYK or L*a*b*), with
      perceptual intent. Without, RGB and grey are taken for sRGB, and CMYK for the complement of RGB, inverted in JPEG as Adobe
      does. L*a*b* is that of D50.
    - Opaque: transparency, in any form, is laid over white. The transparent colour of 16-bit RGB is told by its upper bytes.

    - In full, or, of a large JPEG, a copy of a half, a quarter or an eighth of its height and width, if that is at least twice
      what is needed: each 8×8 block of it is transformed to fewer pixels, so no full one is ever held.

    A file that is truncated is refused, not filled up. Refused as well is what Pillow does not read: of TIFF, 16-bit grey with
    alpha, alpha beside one band in separate planes, floats of 16 or 64 bits or of several bands, big-endian unsigned integers
    of 32 bits, and where 0 is white, integers of 32 bits and big-endian grey of 16; of JPEG, 12 bits and lossless; of BMP,
    embedded JPEG and PNG.

    Beside two copies of the file, it takes 3 bytes for each pixel of the result and what Pillow holds while it decodes: 1 to 4
    bytes, in WebP up to 16, and a strip of a TIFF.

    Args:
        data: the file.
        limits: of it, and of the image itself, whatever is decoded of it.
        needed: given the image's height and width, says the least that will do; None: only the image itself will.

    Raises:
        ImageTooLarge: above the limit of bytes, pixels or length of a side; known from the header, before any pixel is decoded.
        UnsupportedImageFormat: an image, but none of `ACCEPTED_FORMATS`.
        InvalidImage: not an image, truncated or broken.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the image has {len(data):,} bytes, the limit is {limits.max_bytes:,}")
    try:
        return _decode(data, limits, needed)
    except (SegmentationError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        _refuse_unidentified(data, error)
    except Exception as error:
        # Decoders meet hostile bytes with errors of many kinds (OSError, SyntaxError, struct.error, IndexError, ...). All of
        # them say that this file cannot be decoded; none says anything about the server.
        logger.info("image of %d bytes refused: %r", len(data), error)
        raise InvalidImage(f"the image cannot be decoded: {error}") from error


def _decode(data: bytes, limits: Limits, needed: Callable[[Size], Size] | None) -> DecodedImage:
    picture = first_picture(data)
    with Image.open(io.BytesIO(picture.data), formats=ACCEPTED_FORMATS) as file:
        _require_size(file, limits)
        _require_quick(file, len(data))
        if isinstance(file, TiffImageFile):
            tiff_samples.mend(file)
        turn = orientation(picture.exif or file.info.get("exif", b""))
        size = _turned(file.size[::-1], turn)
        extent = size if needed is None else _turned(_reduce(file, _turned(needed(size), turn)), turn)
        file.load()
        upright = np.empty((*_turned(file.size[::-1], turn), 3), np.uint8)
        write_rgb(file, _samples(file, picture), _AS_STORED[turn](upright))
        return DecodedImage(upright, size, _box(extent, upright, turn))


def _reduce(file: Image.Image, needed: Size) -> tuple[float, float]:
    """Let a JPEG load as a copy that will do, as small as can be; the height and width of the image in pixels of it."""
    height, width = needed
    reduced = file.draft(None, (_MARGIN * width, _MARGIN * height)) if isinstance(file, JpegImageFile) else None
    if reduced is None:
        return file.height, file.width
    _, (_, _, right, bottom) = reduced
    return bottom, right


def _box(extent: tuple[float, float], upright: RGBImage, turn: int) -> Box:
    """Where an image of `extent`, its height and width, lies in `upright`; as it is stored, it begins with the first pixel."""
    (height, width), (rows, columns) = extent, upright.shape[:2]
    from_bottom, from_right = _AS_STORED[turn](_CORNERS)[0, 0]
    top, left = (rows - height if from_bottom else 0), (columns - width if from_right else 0)
    return left, top, left + width, top + height


def _turned(size: tuple[_Length, _Length], turn: int) -> tuple[_Length, _Length]:
    """Height and width of an upright image by those as it is stored, or the other way round."""
    return size[::-1] if turn in _SIDEWAYS else size


def _samples(file: Image.Image, picture: StrippedImage) -> Samples:
    profile = picture.profile or file.info.get("icc_profile")
    if not isinstance(profile, bytes):
        profile = b""
    key = file.info.get("transparency")
    if isinstance(file, TiffImageFile):
        return Samples(profile, key, white=tiff_samples.white(file), inverted=tiff_samples.is_inverted(file))
    return Samples(profile, key)


def _require_size(file: Image.Image, limits: Limits) -> None:
    if max(file.size) > limits.max_side:
        raise ImageTooLarge(f"the image has {file.width}×{file.height} pixels, the limit for a side is {limits.max_side:,}")
    pixels = file.width * file.height
    if pixels > limits.max_pixels:
        raise ImageTooLarge(f"the image has {file.width}×{file.height} = {pixels:,} pixels, the limit is {limits.max_pixels:,}")
    if isinstance(file, TiffImageFile):
        width, height = tiff_samples.tile_size(file)
        if width * height > limits.max_pixels:
            raise ImageTooLarge(
                f"the image has tiles of {width}×{height} = {width * height:,} pixels, the limit is {limits.max_pixels:,}"
            )


def _require_quick(file: Image.Image, size: int) -> None:
    if file.format == "BMP" and file.info["compression"] in _RLE_COMPRESSIONS:
        largest = max(size, file.width * file.height)
        if largest > _MAX_RLE:
            raise ImageTooLarge(f"the run-length encoded BMP has {largest:,} pixels or bytes, the limit is {_MAX_RLE:,}")


def _refuse_unidentified(data: bytes, error: UnidentifiedImageError) -> NoReturn:
    name = _format_by_signature(data)
    if name is None:
        raise InvalidImage(f"the {len(data):,} bytes sent are not an image; {_ACCEPTED_TEXT} accepted") from error
    if name in ACCEPTED_FORMATS:
        raise InvalidImage(f"the {name} image cannot be decoded: its header is truncated, broken or of a rare kind") from error
    raise UnsupportedImageFormat(f"{name} images are not accepted; {_ACCEPTED_TEXT}") from error


def _format_by_signature(data: bytes) -> str | None:
    """The name of the image format that `data` begins like."""
    head = data[:16].ljust(16, b"\0")  # As many bytes as Pillow's own checks expect.
    if head[4:8] == b"ftyp" and head[8:12] in {b"heic", b"heix", b"mif1", b"msf1", b"hevc"}:
        return "HEIC"
    foreign = (name for name in Image.OPEN if name not in ACCEPTED_FORMATS)
    for name in (*ACCEPTED_FORMATS, *foreign):
        _, accepts = Image.OPEN[name]
        if accepts is not None and accepts(head) is True:
            return name
    return None

"""From a file's bytes to an upright RGB image."""

import io
import logging
from typing import NoReturn

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from handler.errors import ImageTooLarge, InvalidImage, UnsupportedImageFormat
from handler.geometry import RGBImage
from handler.settings import Limits

logger = logging.getLogger(__name__)

ACCEPTED_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_ACCEPTED_TEXT = "JPEG, PNG, WebP, BMP, GIF and TIFF are"

#: The value that is white, in modes that Pillow would clip to 8 bits instead of scaling.
_GREY_MAXIMUM = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "I;16N": 65535, "I": 65535, "F": 1}

# Pillow's own guard knows one limit for the whole process and raises before the size can be named. `_require_size` checks
# the size of every image right after its header, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
Image.init()


def decode_image(data: bytes, limits: Limits) -> RGBImage:
    """Decode the first frame of an image file, apply its EXIF orientation and convert it to RGB.

    Transparency is laid over white. Grey of 16 bits is divided by 257, 32-bit integers are taken to hold 16, floats to lie in
    0..1; what lies outside is clipped. Every other mode is converted as Pillow does.

    Raises:
        ImageTooLarge: above the limit of bytes, pixels or length of a side.
        UnsupportedImageFormat: an image, but none of `ACCEPTED_FORMATS`.
        InvalidImage: not an image, truncated or broken.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the image has {len(data):,} bytes, the limit is {limits.max_bytes:,}")
    try:
        with Image.open(io.BytesIO(data), formats=ACCEPTED_FORMATS) as file:
            _require_size(file, limits)
            file.load()
            upright = ImageOps.exif_transpose(file)
            return np.asarray(_to_rgb(upright))
    except (ImageTooLarge, MemoryError):
        raise
    except UnidentifiedImageError as error:
        _refuse_unidentified(data, error)
    except Exception as error:
        # Decoders meet hostile bytes with errors of many kinds (OSError, SyntaxError, struct.error, IndexError, ...). All of
        # them say that this file cannot be decoded; none says anything about the server.
        logger.info("image of %d bytes refused: %r", len(data), error)
        raise InvalidImage(f"the image cannot be decoded: {error}") from error


def _require_size(file: Image.Image, limits: Limits) -> None:
    if max(file.size) > limits.max_side:
        raise ImageTooLarge(f"the image has {file.width}×{file.height} pixels, the limit for a side is {limits.max_side:,}")
    pixels = file.width * file.height
    if pixels > limits.max_pixels:
        raise ImageTooLarge(f"the image has {file.width}×{file.height} = {pixels:,} pixels, the limit is {limits.max_pixels:,}")


def _refuse_unidentified(data: bytes, error: UnidentifiedImageError) -> NoReturn:
    name = _foreign_format(data)
    if name is not None:
        raise UnsupportedImageFormat(f"{name} images are not accepted; {_ACCEPTED_TEXT}") from error
    raise InvalidImage(f"the {len(data):,} bytes sent are not an image; {_ACCEPTED_TEXT} accepted") from error


def _foreign_format(data: bytes) -> str | None:
    """The name of the image format that `data` begins like, if it is one that is not accepted."""
    head = data[:16].ljust(16, b"\0")  # As many bytes as Pillow's own checks expect.
    if head[4:8] == b"ftyp" and head[8:12] in {b"heic", b"heix", b"mif1", b"msf1", b"hevc"}:
        return "HEIC"
    for name, (_, accepts) in Image.OPEN.items():
        if name not in ACCEPTED_FORMATS and accepts is not None and accepts(head) is True:
            return name
    return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in _GREY_MAXIMUM:
        values = np.nan_to_num(np.asarray(image, np.float64)) / _GREY_MAXIMUM[image.mode]
        return Image.fromarray(np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")

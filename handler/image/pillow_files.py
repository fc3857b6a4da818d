"""Pillow's readers of the accepted formats, and the translation of their errors."""

import io
import logging
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from handler.errors import InvalidImage, SegmentationError, UnsupportedImageFormat
from handler.image.file_formats import format_name
from handler.image.tiff_samples import LibtiffImageFile

logger = logging.getLogger(__name__)

#: Readers are called directly, not through `Image.open`, which checks the size against a limit of the whole process before
#: the size can be named in an error. `handler.image.decode.open_image` checks it instead, before any pixel is decoded.
_READERS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "TIFF": LibtiffImageFile,
}
ACCEPTED_FORMATS = tuple(_READERS)
_ACCEPTED_TEXT = "JPEG, PNG, WebP, BMP, GIF and TIFF are"

_HEIC_BRANDS = {b"heic", b"heix", b"mif1", b"msf1", b"hevc"}


def open_file(data: bytes) -> ImageFile:
    """Read the header of an image file, and no pixels.

    Raises:
        UnsupportedImageFormat: an image in a format that is not accepted.
        InvalidImage: not an image, or its header is truncated or broken.
    """
    name = format_name(data)
    if name is None:
        raise _refusal(data)
    with refusing_broken_files():
        try:
            return _READERS[name](io.BytesIO(data))
        except (SyntaxError, IndexError, TypeError, struct.error) as error:  # Pillow's "not a file of mine".
            reason = "its header is truncated, broken or of a rare kind"
            raise InvalidImage(f"the {name} image cannot be decoded: {reason}") from error


@contextmanager
def refusing_broken_files() -> Iterator[None]:
    """Turn any error within into `InvalidImage`. Only calls of Pillow belong into such a block.

    On hostile bytes its decoders raise errors of many kinds (OSError, SyntaxError, struct.error, IndexError, ...). All of them
    say that the file cannot be decoded; none says anything about the server.
    """
    try:
        yield
    except (SegmentationError, MemoryError):
        raise
    except Exception as error:
        logger.info("image refused: %r", error)
        raise InvalidImage(f"the image cannot be decoded: {error}") from error


def _refusal(data: bytes) -> SegmentationError:
    name = _foreign_format(data)
    if name is None:
        return InvalidImage(f"the {len(data):,} bytes sent are not an image; {_ACCEPTED_TEXT} accepted")
    return unsupported(name)


def unsupported(name: str) -> UnsupportedImageFormat:
    """Return the error for an image in the format called `name`."""
    return UnsupportedImageFormat(f"{name} images are not accepted; {_ACCEPTED_TEXT}")


def _foreign_format(data: bytes) -> str | None:
    """Return the name of the format, of those that are not accepted, whose signature `data` has."""
    head = data[:16].ljust(16, b"\0")  # Pillow's own checks expect 16 bytes.
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        return "HEIC"
    Image.init()
    for name, (_, accepts) in Image.OPEN.items():
        if name not in _READERS and accepts is not None and accepts(head) is True:
            return name
    return None

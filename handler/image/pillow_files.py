"""Open files of the accepted formats with Pillow's readers, and translate their errors."""

import io
import logging
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from handler.errors import InvalidImage, SegmentationError, UnsupportedImageFormat
from handler.image.file_formats import format_name
from handler.image.file_formats.jpeg import unsupported_kind
from handler.image.file_formats.jpeg2000 import Codestream, read_codestream
from handler.image.tiff_samples import LibtiffImageFile

logger = logging.getLogger(__name__)


def _open_heif(file: io.BytesIO) -> ImageFile:
    # Few requests need this library. Its plugin is not registered, because the host process may register one itself.
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError as error:
        raise UnsupportedImageFormat("HEIC images need the package pillow-heif, which this server lacks") from error
    image: ImageFile = HeifImageFile(file)
    return image


#: Readers are called directly, not through `Image.open`, which checks the size against a process-wide limit before an error
#: could state it. `handler.image.decode.open_image` checks it instead, before any pixel is decoded.
_READERS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "TIFF": LibtiffImageFile,
    "HEIF": _open_heif,
    "AVIF": AvifImageFile,
    "JPEG2000": Jpeg2KImageFile,
}
ACCEPTED_FORMATS = tuple(_READERS)
_ACCEPTED_NAMES = "JPEG, PNG, WebP, BMP, GIF, TIFF, HEIC, AVIF and JPEG 2000 are"
#: Optional features that a build of Pillow may lack.
_FEATURES = {"WEBP": "webp", "TIFF": "libtiff", "AVIF": "avif", "JPEG2000": "jpg_2000"}
#: Signatures of files that people mistake for images and that Pillow does not identify.
_FOREIGN_SIGNATURES = {
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "SVG": rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]",
    "PDF": rb"%PDF-",
    "ZIP": rb"PK\x03\x04",
    "gzip": rb"\x1f\x8b\x08",
    "NetCDF": rb"CDF[\x01\x02\x05]",
    "NumPy": rb"\x93NUMPY",
    "DICOM": rb".{128}DICM",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance HDR": rb"#\?R(?:ADIANCE|GBE)",
    "camera raw": rb"FUJIFILMCCD-RAW|IIU\0|IIRO|IIRS|.{4}ftypcrx ",
    "video": rb".{4}ftyp(?:iso[m2-9]|mp4[12]|qt  |M4V |avc1|3gp.|dash)|\x1aE\xdf\xa3|RIFF.{4}AVI ",
}
_SIGNATURE_BYTES = 1_000
#: Formats whose files begin alike.
_AMBIGUOUS = {"CUR": "CUR or TGA"}
#: Grey or RGB, with or without alpha, and CMYK.
_MAX_COMPONENTS = 4


def open_file(data: bytes) -> ImageFile:
    """Read the header of an image file, but no pixels.

    Raises:
        UnsupportedImageFormat: the format is not accepted, or this server lacks the library for it.
        InvalidImage: the file is not an image, or its header is truncated or broken.
    """
    name = format_name(data)
    if name is None:
        raise _unrecognized_error(data)
    if name in _FEATURES and not features.check(_FEATURES[name]):
        raise UnsupportedImageFormat(f"this server's Pillow was built without {name}")
    if name == "JPEG" and (kind := unsupported_kind(data)):
        raise InvalidImage(f"the JPEG image cannot be decoded: this kind of JPEG is not supported, {kind}")
    codestream = _check_codestream(data) if name == "JPEG2000" else None
    file = _open_with_pillow(name, data)
    if codestream and codestream.size != file.size:
        # Pillow reads the size from the file's boxes, but decodes the codestream at its own size.
        raise InvalidImage(f"the JPEG 2000 image states two sizes, {_dimensions(file.size)} and {_dimensions(codestream.size)}")
    return file


def _open_with_pillow(name: str, data: bytes) -> ImageFile:
    with translate_pillow_errors():
        try:
            return _READERS[name](io.BytesIO(data))
        except (SyntaxError, IndexError, TypeError, struct.error) as error:  # Pillow's errors for "not my format".
            reason = "its header is truncated, broken or of a rare kind"
            raise InvalidImage(f"the {name} image cannot be decoded: {reason}") from error


@contextmanager
def translate_pillow_errors() -> Iterator[None]:
    """Turn any error in the block into `InvalidImage`. Only calls to Pillow belong in such a block.

    On hostile bytes its decoders raise many kinds of errors (OSError, SyntaxError, struct.error, IndexError, ...). All of them
    mean that the file cannot be decoded; none indicates a fault of the server.
    """
    try:
        yield
    except (SegmentationError, MemoryError):
        raise
    except Exception as error:
        logger.info("image refused: %r", error)
        raise InvalidImage(f"the image cannot be decoded: {error}") from error


def _check_codestream(data: bytes) -> Codestream:
    """Return a JPEG 2000 file's codestream header, or raise InvalidImage for a kind that Pillow would report as broken."""
    codestream = read_codestream(data)
    if codestream is None:
        raise InvalidImage("the JPEG 2000 image cannot be decoded: its header is truncated or broken")
    if codestream.components > _MAX_COMPONENTS:
        raise InvalidImage(
            f"the JPEG 2000 image has {codestream.components} components; the most is {_MAX_COMPONENTS}, "
            "but a TIFF may have any number"
        )
    return codestream


def _dimensions(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _unrecognized_error(data: bytes) -> SegmentationError:
    name = _foreign_format(data)
    if name is None:
        return InvalidImage(f"the {len(data):,} bytes sent are not an image; {_ACCEPTED_NAMES} accepted")
    return unsupported_format(name)


def unsupported_format(name: str) -> UnsupportedImageFormat:
    """Return the error for an unsupported kind of file called `name`, such as "ICO images"."""
    return UnsupportedImageFormat(f"{name} are not accepted; {_ACCEPTED_NAMES}")


def _foreign_format(data: bytes) -> str | None:
    """Return the unsupported kind of file whose signature `data` has, such as "PDF files", or None."""
    for name, pattern in _FOREIGN_SIGNATURES.items():
        if re.match(pattern, data[:_SIGNATURE_BYTES], re.DOTALL):
            return f"{name} files"
    head = data[:16].ljust(16, b"\0")  # Pillow's own checks expect 16 bytes.
    Image.init()
    for name, (_, accepts) in Image.OPEN.items():
        if name not in _READERS and accepts is not None and accepts(head) is True:
            return f"{_AMBIGUOUS.get(name, name)} images"
    return None

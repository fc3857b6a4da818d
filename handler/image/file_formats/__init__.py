"""Reduce image files to their first image before a decoder sees them; one module per format.

While Pillow opens a file, before its size can be checked, it reads everything in it besides the pixels: text that unpacks to a
thousand times its length, directories whose entries all point at the same megabytes, whole canvases for frames that nobody
requested. If any of these is broken, Pillow also refuses the image. So formats that can contain such things are rebuilt from an
allow-list of the parts that make up the first image; orientation and ICC profile are extracted separately.
"""

from collections.abc import Callable

from handler.image.file_formats import gif, iso_media, jpeg, jpeg2000, png, tiff
from handler.image.file_formats.stripped import StrippedImage

__all__ = ["StrippedImage", "format_name", "strip_to_first_image"]

#: WebP, BMP and JPEG 2000 need no stripping, because Pillow reads only their image.
_STRIPPERS: dict[str, Callable[[bytes], StrippedImage]] = {
    "JPEG": jpeg.strip_to_first_image,
    "PNG": png.strip_to_first_image,
    "GIF": gif.strip_to_first_image,
    "TIFF": tiff.strip_to_first_image,
    "HEIF": iso_media.strip_to_first_image,
    "AVIF": iso_media.strip_to_first_image,
}
_SIGNATURES: dict[str, tuple[bytes, ...]] = {
    "JPEG": (jpeg.SIGNATURE,),
    "PNG": (png.SIGNATURE,),
    "GIF": gif.SIGNATURES,
    "TIFF": tiff.SIGNATURES,
    "BMP": (b"BM",),
    "JPEG2000": jpeg2000.SIGNATURES,
}


def format_name(data: bytes) -> str | None:
    """Return the name, in `ACCEPTED_FORMATS`, of the format whose signature `data` has, or None."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    matches = (name for name, signatures in _SIGNATURES.items() if data.startswith(signatures))
    return next(matches, None) or iso_media.identify_brands(data)


def strip_to_first_image(data: bytes) -> StrippedImage:
    """Reduce an image file to the parts that make up its first image; return files of other or unknown formats unchanged.

    Broken and truncated files are not refused here, but left to the decoder.

    Raises:
        InvalidImage: the file would take a decoder far longer than its size warrants.
        ImageTooLarge: a GIF's frame extends beyond the largest possible canvas.
    """
    name = format_name(data)
    return _STRIPPERS[name](data) if name in _STRIPPERS else StrippedImage(data)

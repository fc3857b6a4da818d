"""Image files, cut down to their first image before a decoder sees them; one module per format.

Pillow reads whatever a file holds beside its pixels, while it opens the file and so before its size can be checked: text that
unpacks to a thousand times its length, directories whose entries all point at the same megabytes, whole canvases for frames
that nobody asked for. If any of these is broken, Pillow refuses the image too. So the formats that can hold such things are
rebuilt from an allow-list of the parts that make the first image; orientation and ICC profile are taken out beside it.
"""

from collections.abc import Callable

from handler.image.file_formats import gif, iso_media, jpeg, jpeg2000, png, tiff
from handler.image.file_formats.stripped import StrippedImage

__all__ = ["StrippedImage", "format_name", "strip_to_first_image"]

#: WebP, BMP and JPEG 2000 need no stripping: Pillow reads no more of them than the image.
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
    """Return the name of the accepted format whose signature `data` has, as `ACCEPTED_FORMATS` has it."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    by_signature = (name for name, signatures in _SIGNATURES.items() if data.startswith(signatures))
    return next(by_signature, None) or iso_media.format_of_brands(data)


def strip_to_first_image(data: bytes) -> StrippedImage:
    """Cut an image file down to what makes its first image; other formats, and files of no format, stay whole.

    Broken and truncated files are not judged here: what there is of them is left to the decoder.

    Raises:
        InvalidImage: the file would take a decoder far longer than its size warrants.
        ImageTooLarge: a GIF's frame reaches beyond any canvas.
    """
    name = format_name(data)
    return _STRIPPERS[name](data) if name in _STRIPPERS else StrippedImage(data)

"""Image files, cut down to their first picture before a decoder sees them; one file per container.

Pillow reads whatever a file says beside its pixels, while it opens the file and so before its size can be checked: text that
unpacks to a thousand times its length, directories whose entries all point at the same megabytes, whole canvases for frames
that nobody asked for. And where one of these is broken, it gives up the picture. So the containers that can hold such things
are rebuilt from an allow-list of the parts that make the first picture; orientation and ICC profile are taken out beside it.
"""

from collections.abc import Callable

from handler.image.file_formats import gif, jpeg, png, tiff
from handler.image.file_formats.stripped import StrippedImage

__all__ = ["StrippedImage", "first_picture"]

#: By how a file begins. WebP and BMP need no cutting: Pillow reads no more of them than the picture.
_READERS: dict[bytes, Callable[[bytes], StrippedImage]] = {
    jpeg.SIGNATURE: jpeg.first_picture,
    png.SIGNATURE: png.first_picture,
    **dict.fromkeys(gif.SIGNATURES, gif.first_picture),
    **dict.fromkeys(tiff.SIGNATURES, tiff.first_picture),
}


def first_picture(data: bytes) -> StrippedImage:
    """What of an image file makes its first picture; a file of another kind as it is.

    Broken and truncated files are not judged here: what there is of them is left to the decoder.

    Raises:
        InvalidImage: the file would take a decoder far longer than its size warrants.
    """
    for signature, read in _READERS.items():
        if data.startswith(signature):
            return read(data)
    return StrippedImage(data)

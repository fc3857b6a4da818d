"""HEIF and AVIF (ISO/IEC 23008-12): identify the format by the file's brands, and check that the file is complete."""

import struct

from handler.errors import InvalidImage
from handler.image.file_formats.stripped import StrippedImage

_AVIF = {b"avif", b"avis"}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
_MOST_BRANDS = 64
#: Boxes with the image and the description of its storage.
_NEEDED = {b"ftyp", b"meta", b"moov", b"mdat"}
_MOST_BOXES = 1_000


def format_of_brands(data: bytes) -> str | None:
    """Return "AVIF" or "HEIF", or None for other files, such as videos."""
    if data[4:8] != b"ftyp":
        return None
    (length,) = struct.unpack_from(">I", data)
    listed = data[16 : min(length, 16 + 4 * _MOST_BRANDS)]
    brands = {data[8:12], *(listed[at : at + 4] for at in range(0, len(listed), 4))}
    if brands & _AVIF:
        return "AVIF"
    return "HEIF" if brands & _HEIF else None


def strip_to_first_image(data: bytes) -> StrippedImage:
    """Return the file unchanged if it is complete; libheif would fill in the missing tiles of a truncated file.

    Raises:
        InvalidImage: a required box extends beyond the end of the file.
    """
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        if length == 1 and at + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, at + 8)
        if kind in _NEEDED and at + length > len(data):
            raise InvalidImage(f"the image is truncated: its data end at byte {at + length:,}, the file has {len(data):,}")
        if length < 8:  # 0: to the end of the file.
            break
        at += length
    return StrippedImage(data)

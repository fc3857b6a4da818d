"""HEIF and AVIF (ISO/IEC 23008-12): identify the format by the file's brands, and check that the file is complete."""

import struct

from handler.errors import InvalidImage
from handler.image.file_formats.stripped import StrippedImage

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
_MAX_BRANDS = 64
#: Boxes with the image and the description of its storage.
_REQUIRED_BOXES = {b"ftyp", b"meta", b"moov", b"mdat"}
_MAX_BOXES = 1_000


def identify_brands(data: bytes) -> str | None:
    """Return "AVIF" or "HEIF", or None for other files, such as videos."""
    if data[4:8] != b"ftyp":
        return None
    (length,) = struct.unpack_from(">I", data)
    compatible = data[16 : min(length, 16 + 4 * _MAX_BRANDS)]
    brands = {data[8:12], *(compatible[start : start + 4] for start in range(0, len(compatible), 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


def strip_to_first_image(data: bytes) -> StrippedImage:
    """Return the file unchanged if it is complete; libheif would fill in the missing tiles of a truncated file.

    Raises:
        InvalidImage: a required box extends beyond the end of the file.
    """
    offset = 0
    for _ in range(_MAX_BOXES):
        if offset + 8 > len(data):
            break
        length, box_type = struct.unpack_from(">I4s", data, offset)
        if length == 1 and offset + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, offset + 8)
        if box_type in _REQUIRED_BOXES and offset + length > len(data):
            raise InvalidImage(f"the image is truncated: its data end at byte {offset + length:,}, the file has {len(data):,}")
        if length < 8:  # 0: to the end of the file.
            break
        offset += length
    return StrippedImage(data)

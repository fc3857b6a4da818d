"""PNG (W3C, third edition): keep the default image's chunks, without text, animation and unknown chunks."""

import logging
import struct
import zlib
from collections.abc import Iterator

from handler.image.file_formats.stripped import StrippedImage

logger = logging.getLogger(__name__)

SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: The most bytes of an unpacked ICC profile. Display profiles have a few kilobytes, printer profiles up to three megabytes.
MAX_PROFILE_BYTES = 4_000_000

_IMAGE_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_GREY, _RGB = 0, 2


def strip_to_first_image(data: bytes) -> StrippedImage:
    """Keep the default image of a PNG or APNG file."""
    chunks, exif, profile = [SIGNATURE], b"", b""
    bit_depth = colour_type = 0
    for chunk_type, start, end in _iterate_chunks(data):
        if chunk_type == b"IHDR" and start + 10 <= min(end, len(data)):
            bit_depth, colour_type = data[start + 8], data[start + 9]
        if chunk_type == b"tRNS" and colour_type in (_GREY, _RGB):
            chunks.append(_make_chunk(chunk_type, _eight_bit_key(data[start:end], bit_depth, colour_type)))
        elif chunk_type in _IMAGE_CHUNKS:
            chunks.append(data[start - 8 : end + 4])
        elif chunk_type == b"eXIf":
            exif = data[start:end]
        elif chunk_type == b"iCCP":
            profile = _unpack_profile(data[start:end])
    return StrippedImage(b"".join(chunks), exif, profile)


def _iterate_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind and payload range of each chunk."""
    offset = len(SIGNATURE)
    while offset + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        yield data[offset + 4 : offset + 8], offset + 8, offset + 8 + length
        offset += 12 + length


def _make_chunk(chunk_type: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + chunk_type + payload + struct.pack(">I", zlib.crc32(chunk_type + payload))


def _eight_bit_key(payload: bytes, bit_depth: int, colour_type: int) -> bytes:
    """Convert the transparent colour to the scale of Pillow's samples, with which it is compared.

    Pillow scales 2 and 4 bits to 8, and keeps the upper byte of 16-bit RGB.
    """
    values = struct.unpack(f">{len(payload) // 2}H", payload[: len(payload) // 2 * 2])
    if colour_type == _RGB and bit_depth == 16:
        values = tuple(value >> 8 for value in values)
    elif bit_depth in (2, 4):
        values = tuple((value & (1 << bit_depth) - 1) * 255 // ((1 << bit_depth) - 1) for value in values)
    return struct.pack(f">{len(values)}H", *values)


def _unpack_profile(payload: bytes) -> bytes:
    _, _, packed = payload.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error as error:
        logger.info("ICC profile ignored: %s", error)
        return b""
    if not unpacker.eof:
        logger.info("ICC profile ignored: it is truncated or has more than %d bytes", MAX_PROFILE_BYTES)
        return b""
    return profile

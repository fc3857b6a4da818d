"""JPEG 2000 (ISO/IEC 15444-1): read the codestream's size and components, which a decoder uses."""

import struct
from dataclasses import dataclass

_CODESTREAM_SIGNATURE = b"\xff\x4f\xff\x51"
_FILE_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
SIGNATURES = (_CODESTREAM_SIGNATURE, _FILE_SIGNATURE)
_MAX_BOXES = 1_000


@dataclass(frozen=True)
class Codestream:
    """The contents of a codestream's first marker segment."""

    #: Width and height.
    size: tuple[int, int]
    components: int


def read_codestream(data: bytes) -> Codestream | None:
    """Return the size and components of a JPEG 2000 file, or None if its header is truncated."""
    offset = _find_codestream(data)
    if offset is None or offset + 42 > len(data):
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, offset + 8)
    (components,) = struct.unpack_from(">H", data, offset + 40)
    return Codestream((right - left, bottom - top), components)


def _find_codestream(data: bytes) -> int | None:
    """Return the offset of the codestream, or None."""
    if data.startswith(_CODESTREAM_SIGNATURE):
        return 0
    offset = 0
    for _ in range(_MAX_BOXES):
        if offset + 16 > len(data):
            return None
        length, box_type = struct.unpack_from(">I4s", data, offset)
        header_bytes = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, offset + 8)
            header_bytes = 16
        if box_type == b"jp2c":
            return offset + header_bytes if data.startswith(_CODESTREAM_SIGNATURE, offset + header_bytes) else None
        if length < header_bytes:
            return None
        offset += length
    return None

"""JPEG 2000 (ISO/IEC 15444-1): read the codestream's size and components, which a decoder uses."""

import struct
from dataclasses import dataclass

_CODESTREAM = b"\xff\x4f\xff\x51"
_FILE = b"\0\0\0\x0cjP  \r\n\x87\n"
SIGNATURES = (_CODESTREAM, _FILE)
_MOST_BOXES = 1_000


@dataclass(frozen=True)
class Codestream:
    """The contents of a codestream's first marker segment."""

    #: Width and height.
    size: tuple[int, int]
    components: int


def read_codestream(data: bytes) -> Codestream | None:
    """Return the size and components of a JPEG 2000 file, or None if its header is truncated."""
    at = _find_codestream(data)
    if at is None or at + 42 > len(data):
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    (components,) = struct.unpack_from(">H", data, at + 40)
    return Codestream((right - left, bottom - top), components)


def _find_codestream(data: bytes) -> int | None:
    """Return the offset of the codestream, or None."""
    if data.startswith(_CODESTREAM):
        return 0
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 16 > len(data):
            return None
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        if kind == b"jp2c":
            return at + head if data.startswith(_CODESTREAM, at + head) else None
        if length < head:
            return None
        at += length
    return None

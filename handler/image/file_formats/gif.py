"""GIF 89a: the first frame, without comments and what is to be done before the second."""

import re

from handler.image.file_formats.stripped import StrippedImage

SIGNATURES = (b"GIF87a", b"GIF89a")

_EXTENSION, _IMAGE, _TRAILER, _GRAPHIC_CONTROL = b"!", b",", b";", 0xF9
_BLOCK = re.compile(rb"[!,;]")
_SCREEN_BYTES = 13


def first_picture(data: bytes) -> StrippedImage:
    """The first frame of a GIF file."""
    at = _SCREEN_BYTES
    if len(data) > 10 and data[10] & 0x80:
        at += 3 << (data[10] & 7) + 1
    screen, control = data[:at], b""
    while found := _BLOCK.search(data, at):
        at = found.start()
        if found.group() == _IMAGE:
            return StrippedImage(screen + control + data[at:])
        if found.group() == _TRAILER:
            break
        if data[at + 1 : at + 3] == bytes([_GRAPHIC_CONTROL, 4]) and len(data) > at + 6:
            # Whether a colour is transparent, and which; neither disposal nor delay.
            control = bytes([*_EXTENSION, _GRAPHIC_CONTROL, 4, data[at + 3] & 1, 0, 0, data[at + 6], 0])
        at = _after_blocks(data, at + 2)
    return StrippedImage(screen + control + _TRAILER)


def _after_blocks(data: bytes, at: int) -> int:
    """Where a chain of data blocks that begins at `at` ends."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1

"""GIF 89a: keep the first frame, without comments or instructions for the second frame."""

import re
import struct

from handler.errors import ImageTooLarge
from handler.image.file_formats.stripped import StrippedImage

SIGNATURES = (b"GIF87a", b"GIF89a")

_EXTENSION, _FRAME, _TRAILER, _GRAPHIC_CONTROL = b"!", b",", b";", 0xF9
_BLOCK = re.compile(rb"[!,;]")
_SCREEN_BYTES = 13
_MAX_SIDE = 65_535


def strip_to_first_image(data: bytes) -> StrippedImage:
    """Keep the first frame of a GIF file.

    Raises:
        ImageTooLarge: the frame extends beyond 65,535 pixels.
    """
    offset = _SCREEN_BYTES
    if len(data) > 10 and data[10] & 0x80:
        offset += 3 << (data[10] & 7) + 1
    screen, control = data[:offset], b""
    while block := _BLOCK.search(data, offset):
        offset = block.start()
        if block.group() == _FRAME:
            return StrippedImage(_enlarge_screen(screen, data[offset + 1 : offset + 9]) + control + data[offset:])
        if block.group() == _TRAILER:
            break
        if data[offset + 1 : offset + 3] == bytes([_GRAPHIC_CONTROL, 4]) and len(data) > offset + 6:
            # Keep the transparent colour, but not disposal or delay.
            control = bytes([*_EXTENSION, _GRAPHIC_CONTROL, 4, data[offset + 3] & 1, 0, 0, data[offset + 6], 0])
        offset = _skip_blocks(data, offset + 2)
    return StrippedImage(screen + control + _TRAILER)


def _enlarge_screen(screen: bytes, frame: bytes) -> bytes:
    """Enlarge a file's screen to fit its first frame, as Pillow would do after checking its own limit."""
    if len(screen) < _SCREEN_BYTES or len(frame) < 8:
        return screen
    left, top, width, height = struct.unpack("<4H", frame)
    screen_width, screen_height = struct.unpack_from("<2H", screen, 6)
    width, height = max(screen_width, left + width), max(screen_height, top + height)
    if max(width, height) > _MAX_SIDE:
        raise ImageTooLarge(f"the image has {width}×{height} pixels, the limit for a side is {_MAX_SIDE:,}")
    return screen[:6] + struct.pack("<2H", width, height) + screen[10:]


def _skip_blocks(data: bytes, offset: int) -> int:
    """Return the end of the chain of data blocks that begins at `offset`."""
    while offset < len(data) and data[offset]:
        offset += data[offset] + 1
    return offset + 1

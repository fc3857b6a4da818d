"""What Pillow does not know, or gets wrong, of the samples of a TIFF."""

import ctypes
from pathlib import Path
from typing import Any

import PIL
from PIL import TiffImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from handler.errors import InvalidImage

# Pillow's own reader of what is not compressed takes 16 bits in separate planes for 8, and cannot read YCbCr.
TiffImagePlugin.READ_LIBTIFF = True

_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANES = 258, 262, 284
_WHITE_IS_ZERO, _SEPARATE = 0, 2
_TILE_WIDTH, _TILE_LENGTH = 322, 323
#: libtiff hands out the machine's byte order, whatever the file's.
_NATIVE_ORDER = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}


def _silence_libtiff() -> None:
    """Keep libtiff from writing to the process's standard error, a line for each broken row of a hostile file.

    What is wrong comes back as an error anyway. Pillow has no switch for it; its wheels bring the library beside them (Linux)
    or inside (macOS), and where it is elsewhere, it stays as it is.
    """
    package = Path(PIL.__file__).parent
    for library in (*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")):
        libtiff = ctypes.CDLL(str(library))
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            setter = getattr(libtiff, name, None)
            if setter is not None:
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                setter(None)


_silence_libtiff()


def mend(file: TiffImageFile) -> None:
    """Make an opened file load what it holds.

    Raises:
        InvalidImage: its bands would be mixed up.
    """
    if file.tag_v2.get(_PLANES) == _SEPARATE and file.mode in ("LA", "PA"):
        raise InvalidImage("a TIFF with alpha beside one band, in separate planes, cannot be decoded")
    tiles: list[Any] = file.tile
    file.tile = [tile._replace(args=(_NATIVE_ORDER.get(tile.args[0], tile.args[0]), *tile.args[1:])) for tile in tiles]


def tile_size(file: TiffImageFile) -> tuple[int, int]:
    """Width and height of its tiles in pixels, 0 where it has none.

    They are decoded as a whole, however little of them the image covers: in a file of 500 bytes they can have gigabytes.
    """
    width, height = (file.tag_v2.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    return _first(width), _first(height)


def white(file: TiffImageFile) -> int:
    """The value that is white in grey of 9 to 16 bits, which Pillow does not scale."""
    bits = file.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0]
    return int((1 << bits) - 1) if file.mode.startswith("I;16") else 65_535


def is_inverted(file: TiffImageFile) -> bool:
    """Whether 0 is white; Pillow inverts grey of up to 8 bits alone."""
    return bool(file.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def _first(value: Any) -> int:
    """A hostile file may hold several values where there should be one."""
    return int(value[0] if isinstance(value, tuple) else value)

"""Handle TIFF samples that Pillow does not know or gets wrong."""

import ctypes
import io
from pathlib import Path
from typing import Any

import PIL
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from handler.errors import InvalidImage
from handler.image.tiff_layout import TiffLayout

_BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC, _PLANES = 258, 259, 262, 284
_UNCOMPRESSED, _PACKBITS = 1, 32_773
_WHITE_IS_ZERO, _SEPARATE = 0, 2
_TILE_WIDTH, _TILE_LENGTH = 322, 323
#: libtiff returns samples in the machine's byte order, regardless of the file's.
_NATIVE_ORDER = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}


class LibtiffImageFile(TiffImageFile):
    """A TIFF that libtiff always decodes, in the right byte order."""

    #: The sample layout according to its tags, or None if unknown.
    layout: TiffLayout | None = None
    #: The byte offset at which its samples end, according to its tags.
    samples_end = 0

    def _setup(self) -> None:
        # Pillow decodes uncompressed files itself, but reads 16 bits in separate planes as 8 and cannot read YCbCr. Its switch
        # for this (READ_LIBTIFF) is process-wide. libtiff reads the file's own tag, not the one set here.
        if self.tag_v2.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:
            self.tag_v2[_COMPRESSION] = _PACKBITS
        super()._setup()
        if self.tag_v2.get(_PLANES) == _SEPARATE and self.mode in ("LA", "PA"):
            raise InvalidImage("a TIFF with one band and alpha in separate planes cannot be decoded")
        tiles: list[Any] = self.tile
        self.tile = [tile._replace(args=(_NATIVE_ORDER.get(tile.args[0], tile.args[0]), *tile.args[1:])) for tile in tiles]

    def load_prepare(self) -> None:
        """Allocate the pixels without Pillow's check, whose limit is process-wide; `open_image` has checked the size."""
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size, None).im
        super().load_prepare()

    def load(self) -> Any:
        """Decode the samples; report a truncated file as such, where libtiff only returns an error number."""
        file_bytes = len(self.fp.getbuffer()) if isinstance(self.fp, io.BytesIO) else self.samples_end
        try:
            return super().load()
        except OSError as error:
            if self.samples_end <= file_bytes:
                raise
            raise OSError(f"it is truncated: its samples end at byte {self.samples_end:,}, it has {file_bytes:,}") from error

    @property
    def tile_size(self) -> tuple[int, int]:
        """Width and height of its tiles in pixels, or 0 in a file without tiles.

        Tiles are decoded whole, however little of them the image covers, so a file of 500 bytes can demand gigabytes.
        """
        return _number(self.tag_v2.get(_TILE_WIDTH, 0)), _number(self.tag_v2.get(_TILE_LENGTH, 0))

    @property
    def white(self) -> int:
        """The white value of grey of 9 to 16 bits, which Pillow does not scale."""
        bits: int = self.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0]
        return (1 << bits) - 1 if self.mode.startswith("I;16") else 65_535

    @property
    def zero_is_white(self) -> bool:
        """Whether 0 is white; Pillow inverts only grey of up to 8 bits."""
        return bool(self.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def _number(value: Any) -> int:
    """Return the first number of a tag; a hostile file may have several, or text."""
    number = value[0] if isinstance(value, tuple) and value else value
    if not isinstance(number, int):
        raise InvalidImage(f"the TIFF's tiles have a size of {number!r} pixels, which is not a number")
    return number


def silence_libtiff() -> None:
    """Keep libtiff from writing a line to the process's standard error for each broken row of a hostile file.

    The fault is reported as an error anyway. Pillow has no switch for these messages. Its wheels ship the library next to the
    package (Linux) or inside it (macOS); a library in another place is not silenced.
    """
    package = Path(PIL.__file__).parent
    for library in (*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")):
        libtiff = ctypes.CDLL(str(library))
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            setter = getattr(libtiff, name, None)
            if setter is not None:
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                setter(None)

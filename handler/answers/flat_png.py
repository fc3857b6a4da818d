"""PNG files of flat pictures: masks, labels, numbers of segments, probabilities; photographs are Pillow's to write."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from handler.strips import row_strips
from model.metadata import Colour

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE = 0, 2, 3
_NO_FILTER, _UP = 0, 2
_WINDOW_BITS, _MEMORY_LEVEL = 15, 9
_NO_TEXT: Mapping[str, str] = MappingProxyType({})

_Bytes = npt.NDArray[np.uint8]


def encode_png(
    pixels: npt.NDArray[np.bool_ | np.unsignedinteger],
    *,
    palette: Sequence[Colour] = (),
    text: Mapping[str, str] = _NO_TEXT,
) -> bytes:
    """The PNG of a picture, without Pillow's trials of every filter on every row. https://www.w3.org/TR/png-3/#9Filters

    Args:
        pixels: bools H×W, which take 1 bit; grey H×W of 8 or 16 bits; or 8-bit RGB H×W×3.
        palette: the colours that 8-bit H×W are indices of, at most 256; empty: they are grey.
        text: values of text chunks by their keywords, which are of 1 to 79 characters in Latin-1.
    """
    height, width = pixels.shape[:2]
    kind = _PALETTE if palette else _GREY if pixels.ndim == 2 else _RGB
    depth = 1 if pixels.dtype == np.bool_ else 8 * pixels.itemsize
    filtered, strategy = _filtered(pixels)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)),
            _chunk(b"PLTE", bytes(sum(palette, ()))) if palette else b"",
            *(_chunk(b"iTXt", _international(*each)) for each in text.items()),
            _chunk(b"IDAT", _deflated(filtered, strategy)),
            _chunk(b"IEND", b""),
        )
    )


def _filtered(pixels: npt.NDArray[np.bool_ | np.unsignedinteger]) -> tuple[Iterable[_Bytes], int]:
    """Rows, each after its filter's number, some at a time, and zlib's strategy for them.

    A mask is left unfiltered, as the standard advises below 8 bits: empty rows are zeros throughout, and a mask of a small part
    stays small. Other rows are told by their differences from the one above, and these as run lengths: of labels in a third of
    the bytes that zlib's fastest takes, and as soon; of probabilities in a fifth of the time of its usual level.
    """
    if pixels.dtype == np.bool_:
        packed = np.packbits(pixels.view(np.uint8), axis=1)
        return [np.pad(packed, ((0, 0), (1, 0)), constant_values=_NO_FILTER)], zlib.Z_DEFAULT_STRATEGY
    samples = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    return _differences(samples.view(np.uint8).reshape(len(pixels), -1)), zlib.Z_RLE


def _differences(rows: _Bytes) -> Iterator[_Bytes]:
    for part in row_strips(*rows.shape):
        filtered = np.empty((part.stop - part.start, rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = _UP
        filtered[0, 1:] = rows[part.start]
        if part.start:
            filtered[0, 1:] -= rows[part.start - 1]
        np.subtract(rows[part][1:], rows[part][:-1], out=filtered[1:, 1:])
        yield filtered


def _deflated(rows: Iterable[_Bytes], strategy: int) -> bytes:
    packer = zlib.compressobj(wbits=_WINDOW_BITS, memLevel=_MEMORY_LEVEL, strategy=strategy)
    return b"".join([*(packer.compress(part.data) for part in rows), packer.flush()])


def _international(keyword: str, text: str) -> bytes:
    """The content of an iTXt chunk: uncompressed, of no language."""
    return keyword.encode("latin-1") + bytes(5) + text.encode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))

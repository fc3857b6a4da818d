"""Encode PNG files of flat pictures (masks, labels, probabilities) in at most half of Pillow's time.

A label map of 12 megapixels takes 16 ms and 27 KB; with Pillow 34 ms and 37 KB at its default level, 16 ms and 81 KB at its
fastest. Probabilities take 27 ms instead of 141 ms. Pillow tries every filter on every row, which only helps photographs.
"""

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
    """Encode a PNG file. https://www.w3.org/TR/png-3/#9Filters

    Args:
        pixels: bool H×W, stored as 1 bit; grey H×W of 8 or 16 bits; or 8-bit RGB H×W×3.
        palette: at most 256 colours, indexed by 8-bit H×W `pixels`; empty if `pixels` are grey.
        text: text chunks by keyword of 1 to 79 Latin-1 characters.
    """
    height, width = pixels.shape[:2]
    colour_type = _PALETTE if palette else _GREY if pixels.ndim == 2 else _RGB
    bit_depth = 1 if pixels.dtype == np.bool_ else 8 * pixels.itemsize
    filtered, strategy = _filter_rows(pixels)
    return b"".join(
        (
            _SIGNATURE,
            _make_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)),
            _make_chunk(b"PLTE", bytes(sum(palette, ()))) if palette else b"",
            *(_make_chunk(b"iTXt", _encode_text(*item)) for item in text.items()),
            _make_chunk(b"IDAT", _deflate(filtered, strategy)),
            _make_chunk(b"IEND", b""),
        )
    )


def _filter_rows(pixels: npt.NDArray[np.bool_ | np.unsignedinteger]) -> tuple[Iterable[_Bytes], int]:
    """Return strips of rows, each row preceded by its filter's number, and zlib's strategy for them.

    Masks are not filtered, as the standard advises below 8 bits: empty rows are zeros, so a small mask compresses well. Other
    rows are stored as differences from the row above, with zlib's run-length strategy.
    """
    if pixels.dtype == np.bool_:
        packed = np.packbits(pixels.view(np.uint8), axis=1)
        return [np.pad(packed, ((0, 0), (1, 0)), constant_values=_NO_FILTER)], zlib.Z_DEFAULT_STRATEGY
    samples = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    return _subtract_rows_above(samples.view(np.uint8).reshape(len(pixels), -1)), zlib.Z_RLE


def _subtract_rows_above(rows: _Bytes) -> Iterator[_Bytes]:
    for strip in row_strips(*rows.shape):
        filtered = np.empty((strip.stop - strip.start, rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = _UP
        filtered[0, 1:] = rows[strip.start]
        if strip.start:
            filtered[0, 1:] -= rows[strip.start - 1]
        np.subtract(rows[strip][1:], rows[strip][:-1], out=filtered[1:, 1:])
        yield filtered


def _deflate(rows: Iterable[_Bytes], strategy: int) -> bytes:
    packer = zlib.compressobj(wbits=_WINDOW_BITS, memLevel=_MEMORY_LEVEL, strategy=strategy)
    return b"".join([*(packer.compress(strip.data) for strip in rows), packer.flush()])


def _encode_text(keyword: str, text: str) -> bytes:
    """Encode the content of an iTXt chunk, uncompressed and with no language."""
    return keyword.encode("latin-1") + bytes(5) + text.encode()


def _make_chunk(chunk_type: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + chunk_type + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(chunk_type)))

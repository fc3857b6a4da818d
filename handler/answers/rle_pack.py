"""Pack Label Studio's brush masks (@thi.ng/rle-pack), 16 times faster than Label Studio's SDK and to the same bytes.

A mask of 640×480 takes 0.4 ms, with `label_studio_sdk.converter.brush.encode_rle` 6 ms.

The format is a bit stream, most significant bit first: the number of values (32 bits), the bits per value less 1 (5), the bits
of each of four kinds of length less 1 (4 each); then, for each run, a 1, its kind of length (2), its length less 1, its value.
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
"""

import numpy as np
import numpy.typing as npt

from handler.masks.run_lengths import Spans, to_counts

_VALUE_BITS = 8
#: Bits of a length, for each of the four kinds.
_LENGTH_BITS = (3, 4, 8, 16)
_MAX_LENGTH = 1 << _LENGTH_BITS[-1]
#: Label Studio's masks are RGBA.
_CHANNELS = 4
_OPAQUE = 255
#: Runs converted to bits at once, 64 bytes each.
_RUNS_AT_ONCE = 1 << 16


def pack_mask(spans: Spans, size: int) -> bytes:
    """Pack a mask of `size` pixels that is 255 in every channel inside `spans` and 0 outside."""
    lengths = to_counts(spans, size) * _CHANNELS
    values = np.where(np.arange(lengths.size) % 2, _OPAQUE, 0)
    lengths, values = _split_runs(_MAX_LENGTH, lengths, values)
    kind = np.searchsorted([1 << bits for bits in _LENGTH_BITS], lengths)
    length_bits = np.array(_LENGTH_BITS)[kind]
    runs = ((1 << 2 | kind) << length_bits | lengths - 1) << _VALUE_BITS | values
    bits = [_encode_header(size * _CHANNELS)]
    for start in range(0, runs.size, _RUNS_AT_ONCE):
        chunk = slice(start, start + _RUNS_AT_ONCE)
        bits.append(_spread_bits(runs[chunk], 1 + 2 + length_bits[chunk] + _VALUE_BITS))
    return np.packbits(np.concatenate(bits)).tobytes()


def packed_size(spans: Spans, size: int) -> int:
    """Return the number of bytes that `pack_mask` would return, without packing."""
    lengths = to_counts(spans, size) * _CHANNELS
    lengths = lengths[lengths > 0]
    full_runs, remainders = np.divmod(lengths - 1, _MAX_LENGTH)
    bits = _encode_header(size).size + full_runs.sum() * _count_bits(np.array(_MAX_LENGTH)) + _count_bits(remainders + 1).sum()
    return int(-(-bits // 8))


def _count_bits(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the number of packed bits of each run; `lengths` are at most `_MAX_LENGTH`."""
    kind = np.searchsorted([1 << bits for bits in _LENGTH_BITS], lengths)
    bits: npt.NDArray[np.int64] = 1 + 2 + np.array(_LENGTH_BITS)[kind] + _VALUE_BITS
    return bits


def _encode_header(size: int) -> npt.NDArray[np.uint8]:
    fields = [size, _VALUE_BITS - 1, *(bits - 1 for bits in _LENGTH_BITS)]
    return _spread_bits(np.array(fields), np.array([32, 5, *(4 for _ in _LENGTH_BITS)]))


def _split_runs(
    max_length: int, lengths: npt.NDArray[np.int64], values: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split each run into runs of `max_length` and a remainder; drop empty runs."""
    pieces = -(-lengths // max_length)
    split_lengths = np.full(pieces.sum(), max_length)
    last = np.cumsum(pieces)[pieces > 0] - 1
    split_lengths[last] = (lengths - (pieces - 1) * max_length)[pieces > 0]
    return split_lengths, np.repeat(values, pieces)


def _spread_bits(numbers: npt.NDArray[np.int64], bits: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return the low `bits` bits (at most 32) of each number, one after the other, as 0 or 1."""
    all_bits = np.unpackbits(numbers.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)
    return all_bits[np.arange(32) >= 32 - bits[:, None]]

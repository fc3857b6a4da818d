"""The run lengths of @thi.ng/rle-pack, in which Label Studio keeps brush masks.

A stream of bits, most significant first: how many values there are (32 bits), the bits of a value less 1 (5), the bits of each
of four kinds of length less 1 (4 each); then for each run 1, the kind of its length (2), its length less 1, its value.
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
"""

import numpy as np
import numpy.typing as npt

from handler.masks.run_lengths import Spans, to_counts

_VALUE_BITS = 8
#: By kind.
_LENGTH_BITS = (3, 4, 8, 16)
_LONGEST = 1 << _LENGTH_BITS[-1]
#: Label Studio's masks are of red, green, blue and opacity.
_CHANNELS = 4
_OPAQUE = 255
#: Runs whose bits are spread at once, 64 bytes each.
_RUNS_AT_ONCE = 1 << 16


def pack_mask(spans: Spans, size: int) -> bytes:
    """The mask of `size` pixels that is 255 in every channel in `spans`, 0 outside of them."""
    lengths = to_counts(spans, size) * _CHANNELS
    values = np.where(np.arange(lengths.size) % 2, _OPAQUE, 0)
    lengths, values = _no_longer_than(_LONGEST, lengths, values)
    kind = np.searchsorted([1 << bits for bits in _LENGTH_BITS], lengths)
    length_bits = np.array(_LENGTH_BITS)[kind]
    runs = ((1 << 2 | kind) << length_bits | lengths - 1) << _VALUE_BITS | values
    bits = [_header(size * _CHANNELS)]
    for start in range(0, runs.size, _RUNS_AT_ONCE):
        some = slice(start, start + _RUNS_AT_ONCE)
        bits.append(_spread(runs[some], 1 + 2 + length_bits[some] + _VALUE_BITS))
    return np.packbits(np.concatenate(bits)).tobytes()


def packed_size(spans: Spans, size: int) -> int:
    """How many bytes `pack_mask` would give, which takes less than to pack them."""
    lengths = to_counts(spans, size) * _CHANNELS
    lengths = lengths[lengths > 0]
    longest, rest = np.divmod(lengths - 1, _LONGEST)
    bits = _header(size).size + longest.sum() * _bits(np.array(_LONGEST)) + _bits(rest + 1).sum()
    return int(-(-bits // 8))


def _bits(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """That runs of at most `_LONGEST` take."""
    kind = np.searchsorted([1 << bits for bits in _LENGTH_BITS], lengths)
    taken: npt.NDArray[np.int64] = 1 + 2 + np.array(_LENGTH_BITS)[kind] + _VALUE_BITS
    return taken


def _header(size: int) -> npt.NDArray[np.uint8]:
    fields = [size, _VALUE_BITS - 1, *(bits - 1 for bits in _LENGTH_BITS)]
    return _spread(np.array(fields), np.array([32, 5, *(4 for _ in _LENGTH_BITS)]))


def _no_longer_than(
    most: int, lengths: npt.NDArray[np.int64], values: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Each run as runs of `most` and a rest; runs of nothing are left out."""
    pieces = -(-lengths // most)
    pieced = np.full(pieces.sum(), most)
    last = np.cumsum(pieces)[pieces > 0] - 1
    pieced[last] = (lengths - (pieces - 1) * most)[pieces > 0]
    return pieced, np.repeat(values, pieces)


def _spread(numbers: npt.NDArray[np.int64], bits: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """The last `bits` bits of each of `numbers`, of at most 32, one after the other; 0 or 1 each."""
    whole = np.unpackbits(numbers.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)
    return whole[np.arange(32) >= 32 - bits[:, None]]

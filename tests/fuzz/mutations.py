"""Break files in many ways, each described by a few numbers so that hypothesis can shrink and repeat it."""

import struct
from collections.abc import Callable
from typing import TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.fuzz.seeds import seed_files

#: Numbers that decoders stumble over in lengths, counts, offsets and sizes.
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_JUNK = (b"\0" * 100, b"\xff" * 100, b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0", b"<script>", bytes(range(256)))
#: Most faults worth finding are in headers.
_HEADER_BYTES = 256

#: Takes a file, an offset into it, an amount and another file, and returns the broken file.
Mutation: TypeAlias = Callable[[bytearray, int, int, bytes], bytearray]


def _flip_bit(file: bytearray, offset: int, amount: int, _: bytes) -> bytearray:
    file[offset] ^= 1 << amount % 8
    return file


def _set_byte(file: bytearray, offset: int, amount: int, _: bytes) -> bytearray:
    file[offset] = amount % 256
    return file


def _truncate(file: bytearray, offset: int, _: int, __: bytes) -> bytearray:
    return file[:offset]


def _remove(file: bytearray, offset: int, amount: int, _: bytes) -> bytearray:
    return file[:offset] + file[offset + 1 + amount % 64 :]


def _duplicate(file: bytearray, offset: int, amount: int, _: bytes) -> bytearray:
    piece = file[offset : offset + 1 + amount % 512]
    return file[:offset] + piece * (2 + amount % 7) + file[offset + len(piece) :]


def _zero(file: bytearray, offset: int, amount: int, _: bytes) -> bytearray:
    length = min(1 + amount % 64, len(file) - offset)
    file[offset : offset + length] = bytes(length)
    return file


def _swap(file: bytearray, offset: int, amount: int, _: bytes) -> bytearray:
    other_offset = amount % len(file)
    file[offset], file[other_offset] = file[other_offset], file[offset]
    return file


def _splice(file: bytearray, offset: int, amount: int, other_file: bytes) -> bytearray:
    return file[:offset] + other_file[amount % len(other_file) :]


def _insert(file: bytearray, offset: int, amount: int, other_file: bytes) -> bytearray:
    start = amount % len(other_file)
    return file[:offset] + other_file[start : start + 64] + file[offset:]


def _append_junk(file: bytearray, _: int, amount: int, __: bytes) -> bytearray:
    return file + _JUNK[amount % len(_JUNK)] * (1 + amount % 11)


def _append_file(file: bytearray, _: int, __: int, other_file: bytes) -> bytearray:
    return file + other_file


def _extreme(file: bytearray, offset: int, amount: int, _: bytes) -> bytearray:
    """Overwrite two or four bytes, in either byte order, with an extreme number."""
    value, number_format = _EXTREMES[amount % len(_EXTREMES)], ("<I", ">I", "<H", ">H")[amount // len(_EXTREMES) % 4]
    number = struct.pack(number_format, value & (0xFFFFFFFF if number_format[1] == "I" else 0xFFFF))
    offset = max(0, min(offset, len(file) - len(number)))
    file[offset : offset + len(number)] = number
    return file


def _repeat_later(file: bytearray, offset: int, amount: int, _: bytes) -> bytearray:
    """Insert a copy of a later piece of the file, as long as a small chunk."""
    start = offset + amount % 128
    return file[:offset] + file[start : start + 64] + file[offset:]


MUTATIONS: tuple[Mutation, ...] = (
    *(_flip_bit, _set_byte, _truncate, _remove, _duplicate, _zero, _swap, _splice, _insert),
    *(_append_junk, _append_file, _extreme, _repeat_later),
)


@st.composite
def mutated_files(draw: DrawFn) -> bytes:
    """Draw a real file of any format with up to six faults, most of them in its header."""
    names = st.sampled_from(sorted(seed_files()))
    file = bytearray(seed_files()[draw(names)])
    for _ in range(draw(st.integers(0, 6))):
        mutation = draw(st.sampled_from(MUTATIONS))
        offset, amount = draw(_offsets(len(file))), draw(st.integers(0, 2**16 - 1))
        other_file = seed_files()[draw(names)] if mutation in (_splice, _insert, _append_file) else b"\0"
        file = mutation(file, offset, amount, other_file) or bytearray(1)
    return bytes(file)


def _offsets(length: int) -> SearchStrategy[int]:
    """Draw offsets, half of them in the header."""
    return st.one_of(st.integers(0, min(_HEADER_BYTES, length) - 1), st.integers(0, length - 1))

"""Read text files written on any operating system."""

import codecs
from pathlib import Path

from scripts.errors import UserError

#: Checked in this order; UTF-32's byte order mark for little-endian begins with UTF-16's.
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
#: Enough to recognise UTF-16 without a byte order mark.
_SAMPLE_BYTES = 1024


class TextFileError(UserError):
    """A file is not text."""


def read_text(path: Path) -> str:
    r"""Read UTF-8 or UTF-16, with or without a byte order mark; line endings become \n.

    Raises:
        OSError: the file cannot be read.
        TextFileError: the file is in another encoding.
    """
    data = path.read_bytes()
    encoding, bom_length = detect_encoding(data)
    try:
        text = data[bom_length:].decode(encoding)
    except UnicodeDecodeError as error:
        raise TextFileError(
            f"{path}: byte {error.start + bom_length} ({data[error.start + bom_length]:#04x}) is not {encoding.upper()}; "
            "save the file as UTF-8"
        ) from error
    # Some editors add a second byte order mark.
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, stripped of surrounding space, without empty lines.

    Raises:
        OSError: the file cannot be read.
        TextFileError: the file is not text.
    """
    # A byte order mark in the middle comes from concatenated files.
    stripped = (line.strip("\ufeff \t\v\f\u00a0\0") for line in read_text(path).split("\n"))
    return [line for line in stripped if line]


def detect_encoding(data: bytes) -> tuple[str, int]:
    """Return a text's encoding, judged by its first kilobyte, and the length of its byte order mark in bytes."""
    bom = next((bom for bom in _BOMS if data.startswith(bom)), b"")
    return _BOMS.get(bom) or _guess_encoding(data), len(bom)


def _guess_encoding(data: bytes) -> str:
    """Distinguish UTF-16 from UTF-8 by the zero in every other byte of its ASCII characters."""
    sample = data[:_SAMPLE_BYTES]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) <= len(sample) // 6:
        return "utf-8"
    return "utf-16-be" if even > odd else "utf-16-le"

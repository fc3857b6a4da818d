"""TIFF 6.0 and BigTIFF: the first directory's tags that make a picture; and EXIF, a TIFF without a picture."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from handler.errors import InvalidImage
from handler.image.file_formats.stripped import StrippedImage

#: As Pillow knows them: the second pair has its number the wrong way round.
SIGNATURES = (b"II\x2a\x00", b"MM\x00\x2a", b"II\x00\x2a", b"MM\x2a\x00", b"II\x2b\x00", b"MM\x00\x2b")

#: Bytes of one value, by type.
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_BYTES, _SHORT, _UNDEFINED = 1, 3, 7
_ORIENTATION = 274
#: Where the samples are, what they mean and how they are packed.
_PICTURE = {
    *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338, 339, 347),
    *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 532, 34675, 0xBC01),
}
#: Values of one tag: a strip for each row of six bands at the largest height.
_MAX_VALUES = 6 * 65_500
_MAX_ENTRIES = 65_535


@dataclass(frozen=True)
class _Entry:
    tag: int
    type: int
    count: int
    #: Where its type and its value (or the value's offset) stand in the file.
    type_at: int
    value_at: int

    @property
    def value_bytes(self) -> int:
        return _VALUE_BYTES.get(self.type, 0) * self.count


def strip_to_first_image(data: bytes) -> StrippedImage:
    """The first page of a TIFF file. Its tags that a decoder must not see keep their place, with a type that says nothing.

    Raises:
        InvalidImage: a BigTIFF in big-endian order, or tags that no picture can have.
    """
    if data.startswith(b"MM\x00\x2b"):
        raise InvalidImage("a BigTIFF in big-endian byte order cannot be decoded")
    entries = list(_entries(data))
    if not 0 < len(entries) <= _MAX_ENTRIES:
        raise InvalidImage(f"the TIFF has {len(entries):,} readable tags, there must be 1 to {_MAX_ENTRIES:,}")
    kept, claimed = bytearray(data), 0
    for entry in entries:
        if entry.tag not in _PICTURE:
            kept[entry.type_at : entry.type_at + 2] = bytes(2)
            continue
        claimed += entry.value_bytes
        if claimed > len(data) or (entry.count > _MAX_VALUES and entry.type not in (_BYTES, _UNDEFINED)):
            raise InvalidImage(f"the TIFF claims {entry.count:,} values of its tag {entry.tag}, more than it can have")
    return StrippedImage(bytes(kept), exif=data)


def orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, that an EXIF block or a TIFF file tells; 1 where it tells none or is broken."""
    exif = exif.removeprefix(b"Exif\0\0")
    for entry in _entries(exif):
        if entry.tag == _ORIENTATION and entry.type == _SHORT and entry.count == 1 and entry.value_at + 2 <= len(exif):
            (value,) = struct.unpack_from(_order(exif) + "H", exif, entry.value_at)
            return value if 1 <= value <= 8 else 1
    return 1


def _order(data: bytes) -> str:
    return ">" if data.startswith(b"MM") else "<"


def _entries(data: bytes) -> Iterator[_Entry]:
    """The entries of the first directory that lie in the file."""
    if not data.startswith(SIGNATURES) or len(data) < 16:
        return
    order, big = _order(data), data[2] == 0x2B
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    head, form, size = ("Q", "HHQ", 20) if big else ("H", "HHI", 12)
    # A directory that reaches into the header would change it when a tag is taken out.
    if not (16 if big else 8) <= at <= len(data) - struct.calcsize(head):
        return
    (count,) = struct.unpack_from(order + head, data, at)
    at += struct.calcsize(head)
    for start in range(at, min(at + count * size, len(data) - size + 1), size):
        tag, kind, values = struct.unpack_from(order + form, data, start)
        yield _Entry(tag, kind, values, start + 2, start + struct.calcsize("=" + form))

"""TIFF 6.0 and BigTIFF: keep the tags that make up the first page; read EXIF, which is a TIFF without an image."""

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from handler.errors import InvalidImage
from handler.image.file_formats.stripped import StrippedImage

#: The signatures Pillow accepts, and a big-endian BigTIFF's. In the second pair, the number 42 has the wrong byte order.
SIGNATURES = (b"II\x2a\x00", b"MM\x00\x2a", b"II\x00\x2a", b"MM\x2a\x00", b"II\x2b\x00", b"MM\x00\x2b")

#: Bytes of one value, by type.
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_BYTES, _SHORT, _UNDEFINED, _DOUBLE = 1, 3, 7, 12
#: An arbitrary place on a map: the size of a pixel, and the location of the first.
_PLACE = {33550: (1.0, 1.0, 0.0), 33922: (0.0,) * 6}
#: `struct` formats of whole numbers, by type; values of other types stay bytes.
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_ORIENTATION = 274
#: Tags that define where the samples are, what they mean and how they are packed.
_IMAGE_TAGS = {
    *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338, 339, 347),
    *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 532, 34675, 0xBC01),
}
#: The most values of one tag: enough for six bands of the greatest height, with a strip for each row.
_MAX_VALUES = 6 * 65_500
_MAX_ENTRIES = 65_535


@dataclass(frozen=True)
class _Entry:
    tag: int
    type: int
    count: int
    #: File offsets of its type and of its value (or of the value's offset).
    type_at: int
    value_at: int

    @property
    def value_bytes(self) -> int:
        return _VALUE_BYTES.get(self.type, 0) * self.count


def strip_to_first_image(data: bytes) -> StrippedImage:
    """Keep the first page of a TIFF file. Tags that a decoder must not see stay in place, but get a type that it skips.

    The data they point at stays too: other pages, and GDAL's own metadata, which can name further files to open.

    Raises:
        InvalidImage: the file has tags that no image can have.
    """
    entries = list(_entries(data))
    if not 0 < len(entries) <= _MAX_ENTRIES:
        place = f"its directory should be at byte {_directory_offset(data):,}, the file has {len(data):,}"
        raise InvalidImage(f"the TIFF has {len(entries):,} readable tags, there must be 1 to {_MAX_ENTRIES:,}; {place}")
    kept, claimed = bytearray(data), 0
    for entry in entries:
        if entry.tag not in _IMAGE_TAGS:
            kept[entry.type_at : entry.type_at + 2] = bytes(2)
            continue
        claimed += entry.value_bytes
        if claimed > len(data) or (entry.count > _MAX_VALUES and entry.type not in (_BYTES, _UNDEFINED)):
            raise InvalidImage(f"the TIFF claims {entry.count:,} values of its tag {entry.tag}, more than it can have")
    next_at, next_bytes = _directory(data)[1], 8 if _is_big(data) else 4
    if next_at + next_bytes <= len(data):
        kept[next_at : next_at + next_bytes] = bytes(next_bytes)
    return StrippedImage(bytes(kept), exif=data)


def orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, in an EXIF block or a TIFF file, or 1 if it is missing or broken."""
    exif = exif.removeprefix(b"Exif\0\0")
    for entry in _entries(exif):
        if entry.tag == _ORIENTATION and entry.type == _SHORT and entry.count == 1 and entry.value_at + 2 <= len(exif):
            (value,) = struct.unpack_from(_order(exif) + "H", exif, entry.value_at)
            return value if 1 <= value <= 8 else 1
    return 1


def read_tags(data: bytes, wanted: Collection[int]) -> dict[int, tuple[int, ...] | bytes]:
    """Return the `wanted` tags of the first directory: whole numbers, or the bytes of other types.

    Tags whose values extend beyond the file are omitted.
    """
    values: dict[int, tuple[int, ...] | bytes] = {}
    for entry in _entries(data):
        if entry.tag not in wanted or entry.tag in values or not entry.value_bytes:
            continue
        start = entry.value_at
        if entry.value_bytes > (8 if _is_big(data) else 4):
            (start,) = struct.unpack_from(_order(data) + ("Q" if _is_big(data) else "I"), data, start)
        value = data[start : start + entry.value_bytes]
        if len(value) == entry.value_bytes:
            form = _WHOLE_NUMBERS.get(entry.type)
            values[entry.tag] = struct.unpack(f"{_order(data)}{entry.count}{form}", value) if form else value
    return values


def place_on_map(data: bytes) -> bytes:
    """Return a stripped TIFF file with a new directory that adds a place on a map; without one, rasterio warns."""
    order, big = _order(data), _is_big(data)
    head, size, offset = ("Q", 20, "Q") if big else ("H", 12, "I")
    at = len(data) + len(data) % 2
    entries = {
        entry.tag: data[entry.type_at - 2 : entry.type_at - 2 + size] for entry in _entries(data) if entry.tag in _IMAGE_TAGS
    }
    values_at = at + struct.calcsize(head) + size * (len(entries) + len(_PLACE)) + struct.calcsize(offset)
    values = b""
    for tag, numbers in _PLACE.items():
        form = order + ("HHQQ" if big else "HHII")
        entries[tag] = struct.pack(form, tag, _DOUBLE, len(numbers), values_at + len(values))
        values += struct.pack(f"{order}{len(numbers)}d", *numbers)
    directory = struct.pack(order + head, len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    pointer = struct.pack(order + offset, at)
    header = data[:8] + pointer if big else data[:4] + pointer
    return b"".join([header, data[len(header) :], bytes(at - len(data)), directory, bytes(struct.calcsize(offset)), values])


def _order(data: bytes) -> str:
    return ">" if data.startswith(b"MM") else "<"


def _entries(data: bytes) -> Iterator[_Entry]:
    """Yield the entries of the first directory that lie within the file."""
    if not data.startswith(SIGNATURES) or len(data) < 16:
        return
    order = _order(data)
    form, size = ("HHQ", 20) if _is_big(data) else ("HHI", 12)
    first, end = _directory(data)
    for start in range(first, min(end, len(data) - size + 1), size):
        tag, kind, values = struct.unpack_from(order + form, data, start)
        yield _Entry(tag, kind, values, start + 2, start + struct.calcsize("=" + form))


def _directory(data: bytes) -> tuple[int, int]:
    """Return where the first directory's entries begin and should end, or an empty range if it is not within the file."""
    order, big, at = _order(data), _is_big(data), _directory_offset(data)
    head, size = ("Q", 20) if big else ("H", 12)
    # If the directory overlapped the header, removing a tag would change the header.
    if not (16 if big else 8) <= at <= len(data) - struct.calcsize(head):
        return 0, 0
    (count,) = struct.unpack_from(order + head, data, at)
    first = at + struct.calcsize(head)
    return first, first + count * size


def _directory_offset(data: bytes) -> int:
    """Return the first directory's offset according to the header, or 0 if the header is truncated."""
    big = _is_big(data)
    if len(data) < 16:
        return 0
    return int(struct.unpack_from(_order(data) + ("Q" if big else "I"), data, 8 if big else 4)[0])


def _is_big(data: bytes) -> bool:
    """Whether it is a BigTIFF, whose offsets have 64 bits."""
    return 0x2B in data[2:4]

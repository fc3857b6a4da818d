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
_GEOREFERENCE = {33550: (1.0, 1.0, 0.0), 33922: (0.0,) * 6}
#: `struct` formats of whole numbers, by type; values of other types stay bytes.
_INTEGER_FORMATS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
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
    type_offset: int
    value_offset: int

    @property
    def value_bytes(self) -> int:
        return _VALUE_BYTES.get(self.type, 0) * self.count


def strip_to_first_image(data: bytes) -> StrippedImage:
    """Keep the first page of a TIFF file. Tags that a decoder must not see stay in place, but get a type that it skips.

    The data they point at stays too: other pages, and GDAL's own metadata, which can name further files to open.

    Raises:
        InvalidImage: the file has tags that no image can have.
    """
    entries = list(_iterate_entries(data))
    if not 0 < len(entries) <= _MAX_ENTRIES:
        location = f"its directory should be at byte {_directory_offset(data):,}, the file has {len(data):,}"
        raise InvalidImage(f"the TIFF has {len(entries):,} readable tags, there must be 1 to {_MAX_ENTRIES:,}; {location}")
    stripped, claimed_bytes = bytearray(data), 0
    for entry in entries:
        if entry.tag not in _IMAGE_TAGS:
            stripped[entry.type_offset : entry.type_offset + 2] = bytes(2)
            continue
        claimed_bytes += entry.value_bytes
        if claimed_bytes > len(data) or (entry.count > _MAX_VALUES and entry.type not in (_BYTES, _UNDEFINED)):
            raise InvalidImage(f"the TIFF claims {entry.count:,} values of its tag {entry.tag}, more than it can have")
    next_offset, next_bytes = _entry_range(data)[1], 8 if _is_bigtiff(data) else 4
    if next_offset + next_bytes <= len(data):
        stripped[next_offset : next_offset + next_bytes] = bytes(next_bytes)
    return StrippedImage(bytes(stripped), exif=data)


def read_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, in an EXIF block or a TIFF file, or 1 if it is missing or broken."""
    exif = exif.removeprefix(b"Exif\0\0")
    for entry in _iterate_entries(exif):
        if entry.tag == _ORIENTATION and entry.type == _SHORT and entry.count == 1 and entry.value_offset + 2 <= len(exif):
            (value,) = struct.unpack_from(_byte_order(exif) + "H", exif, entry.value_offset)
            return value if 1 <= value <= 8 else 1
    return 1


def read_tags(data: bytes, tags: Collection[int]) -> dict[int, tuple[int, ...] | bytes]:
    """Return the `tags` of the first directory: whole numbers, or the bytes of other types.

    Tags whose values extend beyond the file are omitted.
    """
    values: dict[int, tuple[int, ...] | bytes] = {}
    for entry in _iterate_entries(data):
        if entry.tag not in tags or entry.tag in values or not entry.value_bytes:
            continue
        start = entry.value_offset
        if entry.value_bytes > (8 if _is_bigtiff(data) else 4):
            (start,) = struct.unpack_from(_byte_order(data) + ("Q" if _is_bigtiff(data) else "I"), data, start)
        value = data[start : start + entry.value_bytes]
        if len(value) == entry.value_bytes:
            code = _INTEGER_FORMATS.get(entry.type)
            values[entry.tag] = struct.unpack(f"{_byte_order(data)}{entry.count}{code}", value) if code else value
    return values


def add_georeference(data: bytes) -> bytes:
    """Return a stripped TIFF file with a new directory that adds a place on a map; without one, rasterio warns."""
    order, is_big = _byte_order(data), _is_bigtiff(data)
    count_format, entry_bytes, offset_format = ("Q", 20, "Q") if is_big else ("H", 12, "I")
    padding, next_directory = bytes(len(data) % 2), bytes(struct.calcsize(offset_format))
    directory_offset = len(data) + len(padding)
    entries = {
        entry.tag: data[entry.type_offset - 2 : entry.type_offset - 2 + entry_bytes]
        for entry in _iterate_entries(data)
        if entry.tag in _IMAGE_TAGS
    }
    directory_bytes = struct.calcsize(count_format) + entry_bytes * (len(entries) + len(_GEOREFERENCE)) + len(next_directory)
    values_offset = directory_offset + directory_bytes
    values = b""
    for tag, numbers in _GEOREFERENCE.items():
        entry_format = order + ("HHQQ" if is_big else "HHII")
        entries[tag] = struct.pack(entry_format, tag, _DOUBLE, len(numbers), values_offset + len(values))
        values += struct.pack(f"{order}{len(numbers)}d", *numbers)
    directory = struct.pack(order + count_format, len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    pointer = struct.pack(order + offset_format, directory_offset)
    header = data[:8] + pointer if is_big else data[:4] + pointer
    return b"".join([header, data[len(header) :], padding, directory, next_directory, values])


def _byte_order(data: bytes) -> str:
    return ">" if data.startswith(b"MM") else "<"


def _iterate_entries(data: bytes) -> Iterator[_Entry]:
    """Yield the entries of the first directory that lie within the file."""
    if not data.startswith(SIGNATURES) or len(data) < 16:
        return
    order = _byte_order(data)
    entry_format, entry_bytes = ("HHQ", 20) if _is_bigtiff(data) else ("HHI", 12)
    first, end = _entry_range(data)
    for start in range(first, min(end, len(data) - entry_bytes + 1), entry_bytes):
        tag, value_type, count = struct.unpack_from(order + entry_format, data, start)
        yield _Entry(tag, value_type, count, start + 2, start + struct.calcsize("=" + entry_format))


def _entry_range(data: bytes) -> tuple[int, int]:
    """Return where the first directory's entries begin and should end, or an empty range if it is not within the file."""
    order, is_big, offset = _byte_order(data), _is_bigtiff(data), _directory_offset(data)
    count_format, entry_bytes = ("Q", 20) if is_big else ("H", 12)
    # If the directory overlapped the header, removing a tag would change the header.
    if not (16 if is_big else 8) <= offset <= len(data) - struct.calcsize(count_format):
        return 0, 0
    (count,) = struct.unpack_from(order + count_format, data, offset)
    first = offset + struct.calcsize(count_format)
    return first, first + count * entry_bytes


def _directory_offset(data: bytes) -> int:
    """Return the first directory's offset according to the header, or 0 if the header is truncated."""
    is_big = _is_bigtiff(data)
    if len(data) < 16:
        return 0
    return int(struct.unpack_from(_byte_order(data) + ("Q" if is_big else "I"), data, 8 if is_big else 4)[0])


def _is_bigtiff(data: bytes) -> bool:
    """Whether it is a BigTIFF, whose offsets have 64 bits."""
    return 0x2B in data[2:4]

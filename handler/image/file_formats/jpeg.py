"""JPEG (ITU-T T.81): keep the first image's segments, without previews, comments, resource blocks or any data after its end.

The data after its end can be further images (MPO) or the video of a motion photo.
"""

import logging
import re
import struct
from collections.abc import Iterator

from handler.errors import InvalidImage
from handler.image.file_formats.stripped import StrippedImage

logger = logging.getLogger(__name__)

SIGNATURE = b"\xff\xd8\xff"

#: A decoder processes the whole image in each scan, and a scan can be as short as a hundred bytes. Progressive files have
#: about ten.
MAX_SCANS = 100
_MAX_SEGMENTS = 10_000

_APP0, _APP1, _APP2, _APP14, _APP15, _COM, _EOI, _SOS = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE, 0xD9, 0xDA
_LOSSLESS, _HIERARCHICAL, _JPEG_LS = "lossless", "hierarchical", "JPEG-LS"
#: Start-of-frame markers of kinds that libjpeg does not read.
_UNSUPPORTED_FRAMES = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), _LOSSLESS),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), _HIERARCHICAL),
    0xF7: _JPEG_LS,
}
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA, *_UNSUPPORTED_FRAMES}
#: Markers without a segment: TEM, RST0 to RST7, SOI and EOI.
_STANDALONE = (0x01, *range(0xD0, 0xDA))
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
#: A marker that ends the data of a scan: neither a stuffed byte nor a restart. Searching a file of 12 megapixels takes 3 ms.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"
#: The segments that specify the samples' colour space: their identifier and minimum length.
_COLOUR_SEGMENTS = {_APP0: (b"JFIF\0", 14), _APP14: (b"Adobe", 12)}


def strip_to_first_image(data: bytes) -> StrippedImage:
    """Keep the first image of a JPEG or MPO file, up to its end.

    Raises:
        InvalidImage: the file has more segments or scans than any photograph.
    """
    # A view, so that the image's bytes are copied only once.
    view = memoryview(data)
    pieces, profile_parts, exif = [view[:2]], [], b""
    for marker, start, end in _iterate_segments(data):
        payload = data[start:end]
        if marker == _SOS:
            pieces.append(view[start - 4 : _find_image_end(data, end)])
        elif marker == _APP1 and payload.startswith(_EXIF):
            exif = exif or payload.removeprefix(_EXIF)
        elif marker == _APP2 and payload.startswith(_ICC):
            profile_parts.append(payload.removeprefix(_ICC))
        elif _is_needed(marker, payload):
            pieces.append(view[start - 4 : end])
    return StrippedImage(b"".join(pieces), exif, _join_profile(profile_parts))


def unsupported_kind(data: bytes) -> str | None:
    """Return the kind of a JPEG that libjpeg does not read, such as "12 bits", or None for other JPEGs."""
    for marker, start, end in _iterate_segments(data):
        if marker in _FRAMES and end - start >= 6:
            if marker in _UNSUPPORTED_FRAMES:
                return _UNSUPPORTED_FRAMES[marker]
            return f"{data[start]} bits" if data[start] != 8 else None
    return None


def _iterate_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each segment's marker and payload range, up to the first start of scan."""
    for marker, start, end in _iterate_markers(data, 2, _MARKER):
        if marker not in _STANDALONE:
            yield marker, start, end
        if marker == _SOS:
            return


def _find_image_end(data: bytes, scan_data: int) -> int:
    """Return the end of the image whose first scan's data begins at `scan_data`, or the file's end if it is truncated."""
    scans = 1
    for marker, start, _ in _iterate_markers(data, scan_data, _SCAN_END):
        if marker == _EOI:
            return start
        scans += marker == _SOS
        if scans > MAX_SCANS:
            raise InvalidImage(f"the JPEG has more than {MAX_SCANS} scans")
    return len(data)


def _iterate_markers(data: bytes, offset: int, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, int, int]]:
    """Yield each marker from `offset` on that matches `pattern`, with its payload range, which is empty without a segment."""
    for _ in range(_MAX_SEGMENTS):
        match = pattern.search(data, offset)
        if match is None:
            return
        offset, marker = match.end(), data[match.end() - 1]
        if marker in _STANDALONE:
            yield marker, offset, offset
            continue
        if offset + 2 > len(data):
            return
        (length,) = struct.unpack_from(">H", data, offset)
        yield marker, offset + 2, offset + length
        offset += length
    raise InvalidImage(f"the JPEG has more than {_MAX_SEGMENTS:,} segments")


def _is_needed(marker: int, payload: bytes) -> bool:
    if marker in _COLOUR_SEGMENTS:
        name, length = _COLOUR_SEGMENTS[marker]
        return payload.startswith(name) and len(payload) >= length
    return not _APP0 <= marker <= _APP15 and marker != _COM


def _join_profile(parts: list[bytes]) -> bytes:
    """Join the parts of an ICC profile, each preceded by its number and the number of parts (ICC.1, annex B.4)."""
    numbered = sorted(part for part in parts if len(part) > 2)
    if [part[0] for part in numbered] != list(range(1, len(numbered) + 1)) or any(
        part[1] != len(numbered) for part in numbered
    ):
        logger.info("ICC profile ignored: its %d parts in the JPEG are misnumbered or incomplete", len(parts))
        return b""
    return b"".join(part[2:] for part in numbered)

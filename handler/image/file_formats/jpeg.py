"""JPEG (ITU-T T.81): the header's segments, without other pictures (MPO), previews, comments and resource blocks."""

import logging
import re
import struct
from collections.abc import Iterator
from itertools import islice

from handler.errors import InvalidImage
from handler.image.file_formats.stripped import StrippedImage

logger = logging.getLogger(__name__)

SIGNATURE = b"\xff\xd8\xff"

#: A decoder goes over the whole picture in each scan, and a scan can be as short as a hundred bytes. Progressive files have
#: about ten; the limit counts those of further pictures in the file as well.
MAX_SCANS = 100
_MAX_SEGMENTS = 10_000

_APP0, _APP1, _APP2, _APP14, _APP15, _COM, _SOS = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE, 0xDA
#: Markers of no segment: RST0 to RST7, SOI and EOI.
_STANDALONE = range(0xD0, 0xDA)
#: A start of scan, in half the time of `bytes.count`.
_SCAN = re.compile(rb"\xff\xda")
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"
#: The segments that tell the colours of the samples, in full length.
_COLOUR = {_APP0: (b"JFIF\0", 14), _APP14: (b"Adobe", 12)}


def strip_to_first_image(data: bytes) -> StrippedImage:
    """The first picture of a JPEG or MPO file.

    Raises:
        InvalidImage: more segments or scans than a photograph has.
    """
    if next(islice(_SCAN.finditer(data), MAX_SCANS, None), None):
        raise InvalidImage(f"the JPEG has more than {MAX_SCANS} scans")
    # A view, so that the picture's bytes are copied once.
    whole = memoryview(data)
    kept, profiles, exif = [whole[:2]], [], b""
    for marker, start, end in _segments(data):
        payload = data[start:end]
        if marker == _SOS:
            kept.append(whole[start - 4 :])
        elif marker == _APP1 and payload.startswith(_EXIF):
            exif = exif or payload.removeprefix(_EXIF)
        elif marker == _APP2 and payload.startswith(_ICC):
            profiles.append(payload.removeprefix(_ICC))
        elif _is_needed(marker, payload):
            kept.append(whole[start - 4 : end])
    return StrippedImage(b"".join(kept), exif, _joined(profiles))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker and payload's range of each segment, up to the first start of scan."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        at, marker = found.end(), data[found.end() - 1]
        if marker in _STANDALONE:
            continue
        if at + 2 > len(data):
            return
        (length,) = struct.unpack_from(">H", data, at)
        yield marker, at + 2, at + length
        if marker == _SOS:
            return
        at += length
    raise InvalidImage(f"the JPEG has more than {_MAX_SEGMENTS:,} segments before its picture")


def _is_needed(marker: int, payload: bytes) -> bool:
    if marker in _COLOUR:
        name, length = _COLOUR[marker]
        return payload.startswith(name) and len(payload) >= length
    return not _APP0 <= marker <= _APP15 and marker != _COM


def _joined(parts: list[bytes]) -> bytes:
    """An ICC profile from its parts, each headed by its number and their count (ICC.1, annex B.4)."""
    whole = sorted(part for part in parts if len(part) > 2)
    if [part[0] for part in whole] != list(range(1, len(whole) + 1)) or any(part[1] != len(whole) for part in whole):
        logger.info("ICC profile ignored: %d of its parts are in the JPEG, numbered wrongly or not all of them", len(parts))
        return b""
    return b"".join(part[2:] for part in whole)

"""What every encoder takes and gives besides the segmentation."""

import json
from dataclasses import dataclass
from typing import Any

JSON_TYPE = "application/json"
PNG_TYPE = "image/png"
#: What annotations call the image, whose file name no request says.
IMAGE_NAME = "image"


@dataclass(frozen=True)
class EncodedResponse:
    """An answer as it goes over the wire."""

    body: bytes
    content_type: str


def compact_json(value: Any) -> bytes:
    """JSON without spaces, in UTF-8; half a surrogate pair, which JSON may hold and UTF-8 may not, stays escaped."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")


def json_response(answer: Any) -> EncodedResponse:
    """`answer` as compact JSON."""
    return EncodedResponse(compact_json(answer), JSON_TYPE)


def min_png_bytes(pixels: int, _: int) -> int:
    """Of a PNG of so many pixels: deflate shrinks at most 1032 times (zlib's "Technical Details")."""
    return pixels // 1032

"""What every encoder takes and gives besides the segmentation."""

import io
import json
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

JSON_TYPE = "application/json"
PNG_TYPE = "image/png"
#: What annotations call the image, whose file name no request says.
IMAGE_NAME = "image"


@dataclass(frozen=True)
class ModelIdentity:
    """The name and version under which the model is served."""

    name: str
    version: str


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


def png_bytes(picture: Image.Image, text: PngInfo | None = None, compress_level: int = -1) -> bytes:
    """A PNG file of a whole picture, with the text chunks of `text`; `compress_level` is zlib's, -1 its usual one.

    For masks, of which there are many in an answer, there is `handler.encoders.flat_png`.
    """
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=text, compress_level=compress_level)
    return file.getvalue()


def least_png_bytes(pixels: int, _: int) -> int:
    """Of a PNG of so many pixels: deflate shrinks at most 1032 times (zlib's "Technical Details")."""
    return pixels // 1032

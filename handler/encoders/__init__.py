"""Response formats: one file each, one registry."""

from collections.abc import Callable
from dataclasses import dataclass

from handler.encoders import masks_json, overlay, palette_png
from handler.encoders.response import EncodedResponse, ModelIdentity
from handler.labelmap import Segmentation

__all__ = ["DEFAULT_FORMAT", "FORMATS", "EncodedResponse", "Format", "ModelIdentity"]


@dataclass(frozen=True)
class Format:
    """A response format: the content type that asks for it, and its encoder."""

    content_type: str
    encode: Callable[[Segmentation, ModelIdentity], EncodedResponse]


#: In order of preference, for a client that accepts several.
FORMATS: dict[str, Format] = {
    "json": Format(masks_json.CONTENT_TYPE, masks_json.encode),
    "png": Format(palette_png.CONTENT_TYPE, palette_png.encode),
    "overlay": Format(overlay.CONTENT_TYPE, overlay.encode),
}
DEFAULT_FORMAT = "json"

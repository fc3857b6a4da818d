"""Response formats: one file each, one registry."""

from collections.abc import Callable
from dataclasses import dataclass

from handler.encoders import confidence, index_png, masks_json, npz, overlay, palette_png
from handler.encoders.response import JSON_TYPE, PNG_TYPE, EncodedResponse, ModelIdentity, least_png_bytes
from handler.labelmap import Segmentation
from handler.options import AnswerOptions

__all__ = ["FORMATS", "EncodedResponse", "Format", "ModelIdentity"]


@dataclass(frozen=True)
class Format:
    """A response format: the content type that asks for it, its encoder, and what it is, in words for users."""

    content_type: str
    encode: Callable[[Segmentation, ModelIdentity, AnswerOptions], EncodedResponse]
    about: str
    #: What an answer has at least, in bytes, given the image's pixels and the number of probabilities on the network's grid.
    least_bytes: Callable[[int, int], int] = lambda _pixels, _probabilities: 0


#: In order of preference, for a client that accepts several.
FORMATS: dict[str, Format] = {
    "json": Format(
        JSON_TYPE,
        masks_json.encode,
        "per segment: index, label, colour, pixels, fraction, bbox `[x, y, width, height]`, score, mask",
    ),
    "png": Format(
        PNG_TYPE,
        palette_png.encode,
        "8-bit palette PNG, pixel value = class index, names in the text chunk `classes`",
        least_png_bytes,
    ),
    "overlay": Format(
        overlay.CONTENT_TYPE, overlay.encode, "the photograph with its classes tinted, and a legend", overlay.least_bytes
    ),
    "index": Format(
        PNG_TYPE, index_png.encode, "grey PNG, pixel value = class index: 8 bits, 16 above 256 classes", least_png_bytes
    ),
    "confidence": Format(PNG_TYPE, confidence.encode, "grey PNG: probability of the winning class × 255", least_png_bytes),
    "npz": Format(
        npz.CONTENT_TYPE,
        npz.encode,
        "NumPy's: `label_map`, `probabilities` on the network's grid, `classes`, `palette`",
        npz.least_bytes,
    ),
}

"""Response formats: one file each, and their registry."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from handler.answers import (
    coco,
    coco_panoptic,
    confidence_png,
    cvat,
    geojson,
    huggingface,
    index_png,
    json_answer,
    label_studio,
    label_studio_polygons,
    labelme,
    npz,
    overlay,
    palette_png,
    uncertainty_png,
)
from handler.answers.response import JSON_TYPE, PNG_TYPE, EncodedResponse, min_png_bytes
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions, ModelIdentity

__all__ = ["FORMATS", "EncodedResponse", "Format"]


@dataclass(frozen=True)
class Format:
    """A response format. To add one, write its encoder in a separate file and list it in `FORMATS`:

        def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
            return json_response({segment.label: segment.pixels for segment in find_segments(result, options).items})

        "areas": Format(JSON_TYPE, ".json", areas.encode, "pixels of each class by its name"),

    The parser, content negotiation and `describe` use that entry, and `python -m scripts.contract` writes the tables of
    docs/http-api.md from it.
    """

    #: The content type of its answers, which also selects it in `Accept`.
    content_type: str
    #: The file suffix, including the dot.
    suffix: str
    encode: Callable[[Segmentation, ModelIdentity, AnswerOptions], EncodedResponse]
    #: One line for users.
    summary: str
    #: A lower bound on an answer's bytes, given the image's pixels and the probabilities on the network's grid (C·h·w).
    min_bytes: Callable[[int, int], int] = lambda _pixels, _probabilities: 0
    #: The most classes it can represent.
    max_classes: int = sys.maxsize
    #: Whether it shows the photograph, which must then be decoded at full size.
    needs_photograph: bool = False
    #: Whether it contains the image's file name.
    has_file_name: bool = False


#: By name, in order of preference for a client that accepts several.
FORMATS: dict[str, Format] = {
    "json": Format(
        JSON_TYPE,
        ".json",
        json_answer.encode,
        "`review` and, per segment, index, label, colour, pixels, fraction, bbox `[x, y, width, height]`, score, mask",
    ),
    "png": Format(
        PNG_TYPE,
        ".png",
        palette_png.encode,
        "8-bit palette PNG, pixel value = class index, names in the text chunk `classes`",
        min_bytes=min_png_bytes,
        max_classes=palette_png.MAX_CLASSES,
    ),
    "overlay": Format(
        overlay.CONTENT_TYPE,
        ".jpg",
        overlay.encode,
        "the photograph with its classes tinted, and a legend",
        min_bytes=overlay.min_bytes,
        needs_photograph=True,
    ),
    "index": Format(
        PNG_TYPE,
        ".png",
        index_png.encode,
        "grey PNG, pixel value = class index: 8 bits, 16 above 256 classes",
        min_bytes=min_png_bytes,
    ),
    "confidence": Format(
        PNG_TYPE, ".png", confidence_png.encode, "grey PNG: probability of the winning class × 255", min_bytes=min_png_bytes
    ),
    "uncertainty": Format(
        PNG_TYPE,
        ".png",
        uncertainty_png.encode,
        "grey PNG: uncertainty of each pixel × 255, by the option `uncertainty`",
        min_bytes=min_png_bytes,
    ),
    "npz": Format(
        npz.CONTENT_TYPE,
        ".npz",
        npz.encode,
        "NumPy's: `label_map`, `probabilities` on the network's grid, `classes`, `palette`",
        min_bytes=npz.min_bytes,
    ),
    "geojson": Format(
        geojson.CONTENT_TYPE,
        ".geojson",
        geojson.encode,
        "a FeatureCollection of polygons with holes in pixels, not degrees; `y_axis=up` for QGIS",
    ),
    "coco": Format(
        JSON_TYPE, ".json", coco.encode, "COCO annotations with compressed run lengths, for pycocotools", has_file_name=True
    ),
    "coco_panoptic": Format(
        coco_panoptic.CONTENT_TYPE,
        ".zip",
        coco_panoptic.encode,
        "COCO panoptic: zip of `annotations.json` and `panoptic/image.png`",
        has_file_name=True,
    ),
    "labelme": Format(
        JSON_TYPE, ".json", labelme.encode, "Labelme's file: polygons, and masks where there are holes", has_file_name=True
    ),
    "labelstudio": Format(
        JSON_TYPE, ".json", label_studio.encode, "a prediction for Label Studio, brush masks (`BrushLabels`)"
    ),
    "labelstudio_polygons": Format(
        JSON_TYPE, ".json", label_studio_polygons.encode, "a prediction for Label Studio, polygons (`PolygonLabels`)"
    ),
    "cvat": Format(
        JSON_TYPE, ".json", cvat.encode, "labels and mask shapes, as a detection function of CVAT's SDK returns them"
    ),
    "huggingface": Format(
        JSON_TYPE, ".json", huggingface.encode, '`[{"label", "score", "mask"}]` as the Inference API, mask a PNG'
    ),
}

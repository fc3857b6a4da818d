"""`json`: every segment with its name, its figures and its mask."""

import base64
from collections.abc import Callable
from typing import Any

from PIL import Image

from handler.encoders.response import EncodedResponse, ModelIdentity, json_response, png_bytes
from handler.labelmap import Segmentation
from handler.options import AnswerOptions, Masks
from handler.polygons import polygons
from handler.segments import Segment, Segments, find_segments


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    segments = find_segments(result, options)
    height, width = segments.size
    mask = _MASKS[options.masks]
    return json_response(
        {
            "model": model.name,
            "version": model.version,
            "image": {"width": width, "height": height},
            **({"refine": result.refinement.summary()} if result.refinement else {}),
            "segments": [
                {
                    "index": segment.index,
                    "label": segment.label,
                    "color": result.labels.hex_colour(segment.index),
                    "pixels": segment.pixels,
                    "fraction": round(segment.fraction, 6),
                    "bbox": segment.bbox,
                    "score": round(segment.score, 4),
                    **({"mask": {"size": segments.size, **mask(segments, segment, options)}} if mask else {}),
                }
                for segment in segments.items
            ],
        }
    )


def _rle(segments: Segments, segment: Segment, options: AnswerOptions) -> dict[str, Any]:
    del segments, options
    return {"counts": segment.counts.decode("ascii")}


def _png(segments: Segments, segment: Segment, options: AnswerOptions) -> dict[str, Any]:
    del options
    return {"png": base64.b64encode(png_bytes(Image.fromarray(segments.mask(segment)))).decode("ascii")}


def _polygons(segments: Segments, segment: Segment, options: AnswerOptions) -> dict[str, Any]:
    del options
    return {"polygons": polygons(segments, segment)}


#: What `mask` holds besides the image's size, by the option `masks`; None: there is no `mask`.
_MASKS: dict[Masks, Callable[[Segments, Segment, AnswerOptions], dict[str, Any]] | None] = {
    "rle": _rle,
    "png": _png,
    "polygons": _polygons,
    "none": None,
}

"""`json`: every segment with its name, its figures and its mask."""

import base64
from collections.abc import Callable
from typing import Any

from handler.answers.common_fields import header_fields, segment_fields
from handler.answers.flat_png import encode_png
from handler.answers.response import EncodedResponse, json_response
from handler.masks.polygons import trace_polygons
from handler.masks.segmentation import Segmentation
from handler.masks.segments import Segments, find_segments
from handler.options import AnswerOptions, Masks, ModelIdentity


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    segments = find_segments(result, options)
    mask_of = _MASKS[options.masks]
    masks = mask_of(segments, options) if mask_of else {}
    return json_response(
        {
            **header_fields(segments, model),
            **({"refine": result.refinement.summary()} if result.refinement else {}),
            "segments": [
                {
                    **segment_fields(segment, result.labels),
                    **({"mask": {"size": segments.size, **masks[segment.id]}} if segment.id in masks else {}),
                }
                for segment in segments.items
            ],
        }
    )


def _rle(segments: Segments, options: AnswerOptions) -> dict[int, dict[str, Any]]:
    del options
    return {segment.id: {"counts": segment.counts.decode("ascii")} for segment in segments.items}


def _png(segments: Segments, options: AnswerOptions) -> dict[int, dict[str, Any]]:
    del options
    return {segment.id: {"png": base64.b64encode(encode_png(mask)).decode("ascii")} for segment, mask in segments.masks()}


def _polygons(segments: Segments, options: AnswerOptions) -> dict[int, dict[str, Any]]:
    return {each: {"polygons": own} for each, own in trace_polygons(segments, options.tolerance).items()}


#: What `mask` holds besides the image's size for each segment by its id, by the option `masks`; None: there is no `mask`.
_MASKS: dict[Masks, Callable[[Segments, AnswerOptions], dict[int, dict[str, Any]]] | None] = {
    "rle": _rle,
    "png": _png,
    "polygons": _polygons,
    "none": None,
}

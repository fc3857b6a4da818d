"""`json`: every segment with its class, size, score and mask."""

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
    masks = _MASK_ENCODERS[options.masks](segments, options)
    return json_response(
        {
            **header_fields(segments, model),
            "review": round(result.review, 4),
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


def _encode_run_lengths(segments: Segments, options: AnswerOptions) -> dict[int, dict[str, Any]]:
    del options
    return {segment.id: {"counts": segment.counts.decode("ascii")} for segment in segments.items}


def _encode_pngs(segments: Segments, options: AnswerOptions) -> dict[int, dict[str, Any]]:
    del options
    return {segment.id: {"png": base64.b64encode(encode_png(mask)).decode("ascii")} for segment, mask in segments.masks()}


def _encode_polygons(segments: Segments, options: AnswerOptions) -> dict[int, dict[str, Any]]:
    outlines = trace_polygons(segments, options.tolerance)
    return {segment_id: {"polygons": polygons} for segment_id, polygons in outlines.items()}


#: For each value of the option `masks`, a function that encodes the fields of all segments' masks, except their size, by
#: segment id.
_MASK_ENCODERS: dict[Masks, Callable[[Segments, AnswerOptions], dict[int, dict[str, Any]]]] = {
    "rle": _encode_run_lengths,
    "png": _encode_pngs,
    "polygons": _encode_polygons,
    "none": lambda _segments, _options: {},
}

"""`cvat`: labels and mask shapes of CVAT, as returned by a detection function of its SDK.

`labels` are arguments for `cvat_sdk.auto_annotation.label_spec`, `shapes` for `LabeledShapeRequest`. `label_id` is the class
index, the id of one of these labels; the SDK replaces it with the id of the task's label of the same name, and sets `source`.
`points` are the run lengths of the mask within its bounding box, row by row, starting outside, then the box's left, top, right
and bottom pixel. Background is omitted. https://docs.cvat.ai/docs/api_sdk/sdk/auto-annotation
"""

from handler.answers.common_fields import header_fields, list_categories, round_score
from handler.answers.response import EncodedResponse, json_response
from handler.masks.run_lengths import Spans, crop_spans, find_row_spans, to_counts
from handler.masks.segmentation import Segmentation
from handler.masks.segments import Segment, Segments, find_objects
from handler.options import AnswerOptions, ModelIdentity


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    segments = find_objects(result, options)
    spans = find_row_spans(segments.ids, int(segments.ids.max()) + 1)
    return json_response(
        {
            **header_fields(segments, model),
            "labels": [
                {"name": name, "id": index, "color": result.labels.hex_colour(index), "type": "mask"}
                for index, name in list_categories(result, options).items()
            ],
            "shapes": [
                {
                    "type": "mask",
                    "label_id": segment.class_index,
                    "label": segment.label,
                    "frame": 0,
                    "points": _encode_points(segments, segment, spans[segment.id]),
                    "score": round_score(segment),
                }
                for segment in segments.items
            ],
        }
    )


def _encode_points(segments: Segments, segment: Segment, spans: Spans) -> list[int]:
    left, top, width, height = segment.bbox
    counts: list[int] = to_counts(crop_spans(spans, segment.bbox, segments.size[1]), width * height).tolist()
    return [*counts, left, top, left + width - 1, top + height - 1]

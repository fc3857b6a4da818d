"""`cvat`: mask shapes of CVAT.

`shapes` are `LabeledShapeRequest`s of CVAT's SDK with a class name `label` in place of `label_id`, of which every task has its
own. `points` are the run lengths of the mask within its bounding box, row by row, beginning outside; then the box's left, top,
right and bottom pixel. Background is left out. https://docs.cvat.ai/docs/api_sdk/sdk
"""

from handler.answers.response import EncodedResponse, json_response
from handler.answers.segment_fields import heading, rounded_score
from handler.masks.label_map import Segmentation
from handler.masks.run_lengths import Spans, counts, row_spans, within
from handler.masks.segments import Segment, Segments, find_objects
from handler.options import AnswerOptions, ModelIdentity


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    segments = find_objects(result, options)
    spans = row_spans(segments.ids, int(segments.ids.max()) + 1)
    return json_response(
        {
            **heading(segments, model),
            "shapes": [
                {
                    "type": "mask",
                    "label": segment.label,
                    "frame": 0,
                    "points": _points(segments, segment, spans[segment.id]),
                    "source": "auto",
                    "score": rounded_score(segment),
                }
                for segment in segments.items
            ],
        }
    )


def _points(segments: Segments, segment: Segment, spans: Spans) -> list[int]:
    left, top, width, height = segment.bbox
    lengths: list[int] = counts(within(spans, segment.bbox, segments.size[1]), width * height).tolist()
    return [*lengths, left, top, left + width - 1, top + height - 1]

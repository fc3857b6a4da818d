"""`labelstudio`: a prediction for Label Studio, with a brush mask for each segment.

Add it to a task's `predictions`, or send it with the `task` to `POST /api/predictions`. Background is omitted. The labelling
configuration needs a `Label` for each class:

    <View>
      <Image name="image" value="$image"/>
      <BrushLabels name="label" toName="image"><Label value="cat"/></BrushLabels>
    </View>

https://labelstud.io/guide/predictions, https://labelstud.io/tags/brushlabels
"""

from collections.abc import Iterable, Iterator
from typing import Any

from handler.answers.common_fields import round_score
from handler.answers.response import EncodedResponse, json_response
from handler.answers.rle_pack import pack_mask, packed_size
from handler.errors import ResponseTooLarge
from handler.limits import MAX_PACKED_BYTES
from handler.masks.run_lengths import find_row_spans
from handler.masks.segmentation import Segmentation
from handler.masks.segments import Segment, Segments, find_objects
from handler.options import AnswerOptions, ModelIdentity

_LABELS = "brushlabels"


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    segments = find_objects(result, options)
    return encode_prediction(segments, model, _LABELS, _pack_masks(segments))


def encode_prediction(
    segments: Segments, model: ModelIdentity, label_type: str, regions: Iterable[tuple[Segment, dict[str, Any]]]
) -> EncodedResponse:
    """Encode a prediction with `regions`, pairs of a segment and its region's value; `label_type` is the type of their labels.

    The prediction's `score` is the mean over the pixels of all segments.
    """
    height, width = segments.size
    pixels = sum(segment.pixels for segment in segments.items)
    results = [
        {
            "id": f"region{number}",
            "type": label_type,
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {**value, label_type: [segment.label]},
            "score": round_score(segment),
        }
        for number, (segment, value) in enumerate(regions, start=1)
    ]
    score = sum(segment.score * segment.pixels for segment in segments.items) / pixels if pixels else 0.0
    return json_response({"model_version": f"{model.name} {model.version}", "score": round(score, 4), "result": results})


def _pack_masks(segments: Segments) -> Iterator[tuple[Segment, dict[str, Any]]]:
    spans = find_row_spans(segments.ids, int(segments.ids.max()) + 1)
    size = sum(packed_size(spans[segment.id], segments.ids.size) for segment in segments.items)
    if size > MAX_PACKED_BYTES:
        raise ResponseTooLarge(
            f"the brush masks of {len(segments.items):,} segments, each of the image's size, have {size:,} packed bytes, "
            f"the limit is {MAX_PACKED_BYTES:,}; ask for fewer segments, or for polygons ('labelstudio_polygons')"
        )
    for segment in segments.items:
        yield segment, {"format": "rle", "rle": list(pack_mask(spans[segment.id], segments.ids.size))}

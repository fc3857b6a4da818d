"""`coco`: COCO object detection annotations, which pycocotools and most data set tools can load.

One image, id 1; masks are compressed run lengths, which keep holes; category ids are class indices. Background is omitted.
https://cocodataset.org/#format-data
"""

from typing import Any

from handler.answers.common_fields import list_categories, round_score
from handler.answers.response import EncodedResponse, json_response
from handler.masks.segmentation import Segmentation
from handler.masks.segments import Segments, find_objects
from handler.options import AnswerOptions, ModelIdentity

IMAGE_ID = 1


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Encode annotations; each has a `score`, so that `COCO.loadRes` also accepts the list as results."""
    segments = find_objects(result, options)
    annotations = [
        {
            "id": number,
            "image_id": IMAGE_ID,
            "category_id": segment.class_index,
            "segmentation": {"size": segments.size, "counts": segment.counts.decode("ascii")},
            "area": segment.pixels,
            "bbox": segment.bbox,
            "iscrowd": 0,
            "score": round_score(segment),
        }
        for number, segment in enumerate(segments.items, start=1)
    ]
    categories = [{"id": index, "name": name, "supercategory": ""} for index, name in list_categories(result, options).items()]
    return json_response({**coco_header(segments, model, options), "annotations": annotations, "categories": categories})


def coco_header(segments: Segments, model: ModelIdentity, options: AnswerOptions) -> dict[str, Any]:
    """Return the fields of a COCO file that describe the data set and its image."""
    height, width = segments.size
    return {
        "info": {"description": model.name, "version": model.version},
        "licenses": [],
        "images": [{"id": IMAGE_ID, "file_name": options.image_name, "height": height, "width": width}],
    }

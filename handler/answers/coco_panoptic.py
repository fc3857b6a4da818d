"""`coco_panoptic`: COCO panoptic annotations, a zip of `annotations.json` and `panoptic/image.png`.

A pixel of the PNG holds the id of its segment as red + 256 green + 256² blue; 0 is background, which is omitted. Classes are
things if each connected part is a separate segment, otherwise stuff. https://cocodataset.org/#format-data
"""

import io
import zipfile
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from handler.answers.coco import IMAGE_ID, coco_header
from handler.answers.common_fields import list_categories
from handler.answers.flat_png import encode_png
from handler.answers.response import EncodedResponse, json_response
from handler.masks.segmentation import Segmentation
from handler.masks.segments import Segments, find_objects
from handler.options import AnswerOptions, ModelIdentity

CONTENT_TYPE = "application/zip"


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Encode a zip that unpacks into the layout of COCO's own data set."""
    segments = find_objects(result, options)
    # Without leading folders, which could lead outside the one where the zip is unpacked.
    png_name = PurePosixPath(options.image_name.replace("\\", "/")).stem + ".png"
    segments_info = [
        {"id": number, "category_id": segment.class_index, "area": segment.pixels, "bbox": segment.bbox, "iscrowd": 0}
        for number, segment in enumerate(segments.items, start=1)
    ]
    answer = {
        **coco_header(segments, model, options),
        "annotations": [{"image_id": IMAGE_ID, "file_name": png_name, "segments_info": segments_info}],
        "categories": [
            {
                "id": index,
                "name": name,
                "supercategory": "",
                "isthing": int(options.components),
                "color": result.labels.palette[index],
            }
            for index, name in list_categories(result, options).items()
        ],
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        # `ZipInfo` has a fixed time, so equal answers have equal bytes.
        archive.writestr(zipfile.ZipInfo("annotations.json"), json_response(answer).body)
        archive.writestr(zipfile.ZipInfo(f"panoptic/{png_name}"), encode_png(_segment_numbers(segments)))
    return EncodedResponse(file.getvalue(), CONTENT_TYPE)


def _segment_numbers(segments: Segments) -> npt.NDArray[np.uint8]:
    """Return each pixel's segment number (from 1; 0 if not listed) as RGB, uint8 H×W×3."""
    colours = np.zeros((int(segments.ids.max()) + 1, 3), np.uint8)
    for number, segment in enumerate(segments.items, start=1):
        colours[segment.id] = number & 255, number >> 8 & 255, number >> 16
    return np.take(colours, segments.ids, axis=0)

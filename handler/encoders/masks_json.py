"""`json`: every class that occurs, with its name, its figures and its mask as COCO run lengths."""

import json
from typing import Any

import numpy as np
from pycocotools import mask as coco

from handler.encoders.response import EncodedResponse, ModelIdentity
from handler.labelmap import ClassStatistics, Segmentation, class_statistics

CONTENT_TYPE = "application/json"


def encode(result: Segmentation, model: ModelIdentity) -> EncodedResponse:
    height, width = result.label_map.shape
    answer = {
        "model": model.name,
        "version": model.version,
        "image": {"width": width, "height": height},
        **({"refine": result.refinement.summary()} if result.refinement else {}),
        "segments": [_segment(result, statistics) for statistics in class_statistics(result)],
    }
    return EncodedResponse(json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode(), CONTENT_TYPE)


def _segment(result: Segmentation, statistics: ClassStatistics) -> dict[str, Any]:
    index = statistics.index
    # Column-major, because COCO's runs go down the columns.
    runs = coco.encode(np.asfortranarray(result.label_map == index, np.uint8))
    return {
        "index": index,
        "label": result.labels.names[index],
        "color": result.labels.hex_colour(index),
        "pixels": statistics.pixels,
        "fraction": round(statistics.fraction, 6),
        "bbox": [int(value) for value in coco.toBbox(runs)],
        "score": round(statistics.score, 4),
        "mask": {"size": list(result.label_map.shape), "counts": runs["counts"].decode("ascii")},
    }

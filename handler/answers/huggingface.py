"""`huggingface`: `[{"label", "score", "mask"}]`, the image segmentation answer of Hugging Face's Inference API.

`mask` is a grey PNG of the image's size in base64, 255 inside the segment and 0 outside. Background is a class like any other.
https://huggingface.co/docs/inference-providers/tasks/image-segmentation
"""

import base64

import numpy as np
import numpy.typing as npt

from handler.answers.common_fields import round_score
from handler.answers.flat_png import encode_png
from handler.answers.response import EncodedResponse, json_response
from handler.masks.segmentation import Segmentation
from handler.masks.segments import find_segments
from handler.options import AnswerOptions, ModelIdentity


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    del model  # The format has no field for it.
    return json_response(
        [
            {"label": segment.label, "score": round_score(segment), "mask": _encode_mask(mask)}
            for segment, mask in find_segments(result, options).masks()
        ]
    )


def _encode_mask(mask: npt.NDArray[np.bool_]) -> str:
    return base64.b64encode(encode_png(mask.view(np.uint8) * np.uint8(255))).decode("ascii")

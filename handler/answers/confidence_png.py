"""`confidence`: a grey PNG of the winning class's probability, times 255."""

import numpy as np

from handler.answers.flat_png import encode_png
from handler.answers.palette_png import make_text_chunks
from handler.answers.response import PNG_TYPE, EncodedResponse
from handler.masks.confidence import interpolate_confidence
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions, ModelIdentity


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Encode the interpolated probabilities, rounded, with the text chunks of `png`."""
    del options
    grey = np.empty(result.label_map.shape, np.uint8)
    for rows, confidence in interpolate_confidence(result):
        grey[rows] = np.rint(np.clip(confidence, 0, 1) * 255)
    return EncodedResponse(encode_png(grey, text=make_text_chunks(result, model)), PNG_TYPE)

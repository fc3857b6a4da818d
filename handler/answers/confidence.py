"""`confidence`: a grey PNG of the winning class's probability, times 255."""

import numpy as np

from handler.answers.flat_png import flat_png
from handler.answers.palette_png import describing
from handler.answers.response import PNG_TYPE, EncodedResponse
from handler.masks.confidence import confidence_rows
from handler.masks.label_map import Segmentation
from handler.options import AnswerOptions, ModelIdentity


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Interpolated from the network's grid, rounded; with the text chunks of `png`."""
    del options
    grey = np.empty(result.label_map.shape, np.uint8)
    for rows, confidence in confidence_rows(result):
        grey[rows] = np.rint(np.clip(confidence, 0, 1) * 255)
    return EncodedResponse(flat_png(grey, text=describing(result, model)), PNG_TYPE)

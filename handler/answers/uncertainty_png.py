"""`uncertainty`: a grey PNG of how uncertain each pixel's label is, times 255."""

import numpy as np

from handler.answers.flat_png import encode_png
from handler.answers.palette_png import make_text_chunks
from handler.answers.response import PNG_TYPE, EncodedResponse
from handler.masks.segmentation import Segmentation
from handler.masks.uncertainty import interpolate_uncertainty
from handler.options import AnswerOptions, ModelIdentity


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Encode the uncertainty, rounded, with the text chunks of `png` and `uncertainty`, which names the measure."""
    grey = np.empty(result.label_map.shape, np.uint8)
    for rows, uncertainty in interpolate_uncertainty(result, options.uncertainty):
        grey[rows] = np.rint(np.clip(uncertainty, 0, 1) * 255)
    text = {**make_text_chunks(result, model), "uncertainty": options.uncertainty}
    return EncodedResponse(encode_png(grey, text=text), PNG_TYPE)

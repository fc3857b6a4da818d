"""`index`: a grey PNG whose pixel values are class indices, of 8 bits, or of 16 above 256 classes."""

from handler.answers.flat_png import flat_png
from handler.answers.palette_png import describing
from handler.answers.response import PNG_TYPE, EncodedResponse
from handler.masks.label_map import Segmentation
from handler.options import AnswerOptions, ModelIdentity


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """With the text chunks of `png`."""
    del options
    return EncodedResponse(flat_png(result.label_map, text=describing(result, model)), PNG_TYPE)

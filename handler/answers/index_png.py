"""`index`: a grey PNG whose pixel values are class indices; 8 bits, or 16 above 256 classes."""

from handler.answers.flat_png import encode_png
from handler.answers.palette_png import make_text_chunks
from handler.answers.response import PNG_TYPE, EncodedResponse
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions, ModelIdentity


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Encode the label map with the text chunks of `png`."""
    del options
    return EncodedResponse(encode_png(result.label_map, text=make_text_chunks(result, model)), PNG_TYPE)

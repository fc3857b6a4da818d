"""`index`: a grey PNG whose pixel values are class indices, of 8 bits, or of 16 above 256 classes."""

from PIL import Image

from handler.encoders.palette_png import describing
from handler.encoders.response import PNG_TYPE, EncodedResponse, ModelIdentity, png_bytes
from handler.labelmap import Segmentation
from handler.options import AnswerOptions


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """With the text chunks of `png`."""
    del options
    return EncodedResponse(png_bytes(Image.fromarray(result.label_map), describing(result, model)), PNG_TYPE)

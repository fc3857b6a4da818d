"""`png`: a palette PNG whose pixel values are class indices, shown in the class colours."""

import json

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from handler.encoders.response import PNG_TYPE, EncodedResponse, ModelIdentity, png_bytes
from handler.labelmap import Segmentation
from handler.options import AnswerOptions

#: A palette's colours.
MOST_CLASSES = 256


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """The palette PNG with the text chunks of `describing`."""
    del options
    return EncodedResponse(png_bytes(palette_image(result), describing(result, model)), PNG_TYPE)


def describing(result: Segmentation, model: ModelIdentity) -> PngInfo:
    """Text chunks: class names in `classes`, a JSON list; the model's name and version in `model`.

    Where the mask was refined, `refine` says how and for how long, as a JSON object.
    """
    text = PngInfo()
    text.add_itxt("classes", json.dumps(result.labels.names, ensure_ascii=False))
    text.add_itxt("model", f"{model.name} {model.version}")
    if result.refinement:
        text.add_itxt("refine", json.dumps(result.refinement.summary()))
    return text


def palette_image(result: Segmentation) -> Image.Image:
    """The label map as a mode P image; of at most `MOST_CLASSES`."""
    image = Image.fromarray(result.label_map)
    image.putpalette([channel for colour in result.labels.palette for channel in colour])
    return image

"""`png`: a palette PNG whose pixel values are class indices, shown in the class colours."""

import io
import json

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from handler.encoders.response import EncodedResponse, ModelIdentity
from handler.errors import InvalidOption
from handler.labelmap import Segmentation

CONTENT_TYPE = "image/png"
_MOST_CLASSES = 256


def encode(result: Segmentation, model: ModelIdentity) -> EncodedResponse:
    """Class names are in the text chunk `classes`, a JSON list; `model` holds the model's name and version.

    Where the mask was refined, `refine` says how and for how long, as a JSON object.
    """
    file = io.BytesIO()
    text = PngInfo()
    text.add_itxt("classes", json.dumps(result.labels.names, ensure_ascii=False))
    text.add_itxt("model", f"{model.name} {model.version}")
    if result.refinement:
        text.add_itxt("refine", json.dumps(result.refinement.summary()))
    palette_image(result).save(file, "PNG", pnginfo=text)
    return EncodedResponse(file.getvalue(), CONTENT_TYPE)


def palette_image(result: Segmentation) -> Image.Image:
    """The label map as a mode P image."""
    count = len(result.labels.names)
    if count > _MOST_CLASSES:
        raise InvalidOption(f"option 'format': 'png' holds {_MOST_CLASSES} classes, this model has {count}; use 'json'")
    image = Image.fromarray(result.label_map)
    image.putpalette([channel for colour in result.labels.palette for channel in colour])
    return image

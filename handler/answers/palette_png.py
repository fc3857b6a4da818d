"""`png`: a palette PNG whose pixel values are class indices, displayed in the class colours."""

import json

from handler.answers.flat_png import encode_png
from handler.answers.response import PNG_TYPE, EncodedResponse
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions, ModelIdentity

#: The most colours in a palette.
MAX_CLASSES = 256


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Encode the palette PNG with the text chunks of `make_text_chunks`."""
    del options
    png = encode_png(result.label_map, palette=result.labels.palette, text=make_text_chunks(result, model))
    return EncodedResponse(png, PNG_TYPE)


def make_text_chunks(result: Segmentation, model: ModelIdentity) -> dict[str, str]:
    """Return text chunks: `classes`, a JSON list of names; `model`, the model's name and version.

    If the mask was refined, `refine` is a JSON object with the method and the seconds it took.
    """
    refinement = {"refine": json.dumps(result.refinement.summary())} if result.refinement else {}
    names = json.dumps(result.labels.names, ensure_ascii=False)
    return {"classes": names, "model": f"{model.name} {model.version}", **refinement}

"""`png`: a palette PNG whose pixel values are class indices, shown in the class colours."""

import json

from handler.answers.flat_png import encode_png
from handler.answers.response import PNG_TYPE, EncodedResponse
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions, ModelIdentity

#: A palette's colours.
MAX_CLASSES = 256


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """The palette PNG with the text chunks of `make_text_chunks`."""
    del options
    png = encode_png(result.label_map, palette=result.labels.palette, text=make_text_chunks(result, model))
    return EncodedResponse(png, PNG_TYPE)


def make_text_chunks(result: Segmentation, model: ModelIdentity) -> dict[str, str]:
    """Text chunks: class names in `classes`, a JSON list; the model's name and version in `model`.

    Where the mask was refined, `refine` says how and for how long, as a JSON object.
    """
    refinement = {"refine": json.dumps(result.refinement.summary())} if result.refinement else {}
    names = json.dumps(result.labels.names, ensure_ascii=False)
    return {"classes": names, "model": f"{model.name} {model.version}", **refinement}

"""Explanations: a PNG of the photograph, tinted by how strongly each part supports the class."""

import io
import json

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from handler.answers.legend import Legend
from handler.answers.response import PNG_TYPE, EncodedResponse
from handler.masks.explanation import Explanation
from handler.options import AnswerOptions, ModelIdentity
from handler.strips import row_strips

_METHOD = "seg-grad-cam"
#: Every 17th colour of Turbo (Mikhailov 2019), from cold to hot; its many hues stand out against most photographs.
_TURBO = np.frombuffer(
    bytes.fromhex(
        "30123b 4043a6 4670e8 3e9bfe 21c4e1 1ae4b6 46f783 87fe4d b9f534 e1dc37 f9ba38 fd8c27 ef5a11 d63405 ae1801 7a0402"
    ),
    np.uint8,
).reshape(-1, 3)
#: zlib's fastest level: the default, 6, saves a seventh of a photograph's bytes and takes five times as long.
_COMPRESS_LEVEL = 1


def encode(result: Explanation, model: ModelIdentity, alpha: float = AnswerOptions().alpha) -> EncodedResponse:
    """Encode a PNG of the image's size.

    Its text chunks are `class`, the class's name; `explanation`, a JSON object with the method, the class's index and the
    number of grid cells explained (see `Explanation.cells`); and `model`, the model's name and version.
    """
    text = PngInfo()
    text.add_itxt("class", result.label)
    text.add_itxt("explanation", json.dumps({"method": _METHOD, "class_index": result.class_index, "cells": result.cells}))
    text.add_itxt("model", f"{model.name} {model.version}")
    file = io.BytesIO()
    draw_explanation(result, alpha).save(file, "PNG", pnginfo=text, compress_level=_COMPRESS_LEVEL)
    return EncodedResponse(file.getvalue(), PNG_TYPE)


def draw_explanation(result: Explanation, alpha: float = AnswerOptions().alpha) -> Image.Image:
    """Draw the explanation at the image's size, RGB.

    `alpha` is the opacity of the tint where heat is 1. Opacity follows the square root of the heat, because most of a map is
    far below its maximum; where heat is 0, the photograph is unchanged.
    """
    picture = Image.fromarray(result.image)
    heat = Image.fromarray(np.rint(result.heat * 255).astype(np.uint8))
    opacities = [round(255 * alpha * (level / 255) ** 0.5) for level in range(256)]
    for rows in row_strips(picture.height, picture.width):
        # Pillow interpolates with half-pixel centres and reads beyond the box, so strips have no seams.
        box = (0, rows.start * heat.height / picture.height, heat.width, rows.stop * heat.height / picture.height)
        levels = heat.resize((picture.width, rows.stop - rows.start), Image.Resampling.BILINEAR, box)
        picture.paste(apply_turbo(levels), (0, rows.start), levels.point(opacities))
    _draw_legend(picture, result)
    return picture


def apply_turbo(levels: Image.Image) -> Image.Image:
    """Map a mode L image (0 cold to 255 hot) to Turbo's colours, RGB."""
    positions = np.linspace(0, 255, len(_TURBO))
    palette = np.stack([np.interp(np.arange(256), positions, channel) for channel in _TURBO.T], axis=1)
    coloured = levels.copy()
    coloured.putpalette(np.rint(palette).astype(np.uint8).tobytes())
    return coloured.convert("RGB")


def _draw_legend(picture: Image.Image, result: Explanation) -> None:
    """Draw the colour bar and the class's name."""
    legend = Legend.for_picture(picture)
    name = result.label if result.cells else f"{result.label} (found nowhere)"
    bar = Image.linear_gradient("L").rotate(90).resize((4 * legend.text_size, legend.text_size))
    names_left, height = 2 * legend.margin + bar.width, 2 * legend.margin + bar.height
    legend.draw(picture, [(apply_turbo(bar), name)], names_left=names_left, height=height)

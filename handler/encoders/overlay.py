"""`overlay`: the photograph with its segments tinted in their class colours, and a legend; a JPEG for people to look at."""

import io

import numpy as np
from PIL import Image, ImageDraw

from handler.encoders.legend import Legend
from handler.encoders.response import EncodedResponse, ModelIdentity
from handler.encoders.strips import strips
from handler.labelmap import Segmentation
from handler.options import AnswerOptions
from handler.runs import column_runs
from model.metadata import Colour

CONTENT_TYPE = "image/jpeg"
_QUALITY = 90


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    del model  # A picture says nothing of it.
    file = io.BytesIO()
    overlay_image(result, options.alpha).save(file, "JPEG", quality=_QUALITY)
    return EncodedResponse(file.getvalue(), CONTENT_TYPE)


def least_bytes(pixels: int, _: int) -> int:
    """Of a JPEG of so many pixels.

    A block of 8×8 takes at least 6 bits of brightness or 4 of colour (ITU-T T.81, annex K); 16×16 pixels have 4 and 2 of them.
    """
    return pixels // 64


def overlay_image(result: Segmentation, alpha: float = AnswerOptions().alpha) -> Image.Image:
    """RGB of the image's size. `alpha` is the opacity of the tint, 0..1; background is left as it is."""
    picture = Image.fromarray(result.image)
    palette = np.asarray(result.labels.palette, np.uint8)
    background = result.labels.background
    for rows in strips(*result.label_map.shape):
        labels = result.label_map[rows]
        tinted = Image.blend(Image.fromarray(result.image[rows]), Image.fromarray(palette.take(labels, axis=0)), alpha)
        picture.paste(tinted, (0, rows.start), None if background is None else Image.fromarray(labels != background))
    _draw_legend(picture, result)
    return picture


def _draw_legend(picture: Image.Image, result: Segmentation) -> None:
    """Swatches and names of the classes that occur."""
    names = result.labels.names
    pixels = column_runs(result.label_map).pixels(len(names))
    shown = [int(i) for i in np.argsort(-pixels, kind="stable") if pixels[i] and i != result.labels.background]
    if not shown:
        return
    legend = Legend.on(picture)
    entries = [(_swatch(result.labels.palette[index], legend.text_size), names[index]) for index in shown]
    legend.draw(picture, entries, names_left=legend.margin + legend.row, height=len(entries) * legend.row + legend.margin)


def _swatch(colour: Colour, size: int) -> Image.Image:
    swatch = Image.new("RGB", (size + 1, size + 1))
    ImageDraw.Draw(swatch).rectangle((0, 0, size, size), fill=colour, outline="white")
    return swatch

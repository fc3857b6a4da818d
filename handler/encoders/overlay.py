"""`overlay`: the photograph with its segments tinted in their class colours, and a legend; a JPEG for people to look at."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from handler.encoders.lettering import lettering
from handler.encoders.response import EncodedResponse, ModelIdentity
from handler.labelmap import Segmentation
from handler.options import AnswerOptions

CONTENT_TYPE = "image/jpeg"
_QUALITY = 90
#: Pixels tinted at once, so that a large photograph needs memory for one copy of itself and little more.
_PIXELS_AT_ONCE = 1 << 20


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
    for rows in _strips(result):
        labels = result.label_map[rows]
        tinted = Image.blend(Image.fromarray(result.image[rows]), Image.fromarray(palette[labels]), alpha)
        picture.paste(tinted, (0, rows.start), None if background is None else Image.fromarray(labels != background))
    _draw_legend(picture, result)
    return picture


def _strips(result: Segmentation) -> Iterator[slice]:
    """All rows of the image, some at a time."""
    height, width = result.label_map.shape
    step = max(1, _PIXELS_AT_ONCE // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _draw_legend(picture: Image.Image, result: Segmentation) -> None:
    """Swatches and names of the classes that occur, in the upper left corner, where they fit."""
    # In strips, because NumPy counts in a copy of 8 bytes for each pixel.
    names = len(result.labels.names)
    counts = np.sum([np.bincount(result.label_map[rows].ravel(), minlength=names) for rows in _strips(result)], axis=0)
    shown = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] and i != result.labels.background]
    text_size = max(11, min(picture.size) // 28)
    font = lettering(text_size)
    margin, row = text_size // 2, round(text_size * 1.5)
    widest = max((font.getlength(result.labels.names[i]) for i in shown), default=0)
    width, height = round(widest) + row + 2 * margin, len(shown) * row + margin
    if not shown or width > picture.width or height > picture.height:
        return
    draw = ImageDraw.Draw(picture, "RGBA")
    draw.rectangle((0, 0, width, height), fill=(0, 0, 0, 150))
    for position, index in enumerate(shown):
        top = margin + position * row
        draw.rectangle((margin, top, margin + text_size, top + text_size), fill=result.labels.palette[index], outline="white")
        draw.text((margin + row, top + text_size / 2), result.labels.names[index], fill="white", font=font, anchor="lm")

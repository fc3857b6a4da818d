"""`overlay`: a JPEG of the photograph with its classes tinted in their colours, and a legend."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from handler.answers.legend import Legend
from handler.answers.response import EncodedResponse
from handler.masks.label_map import LabelMap
from handler.masks.run_lengths import find_column_runs
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions, ModelIdentity
from handler.strips import row_strips
from model.metadata import Colour

CONTENT_TYPE = "image/jpeg"
_QUALITY = 90


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    del model  # The picture does not show it.
    file = io.BytesIO()
    draw_overlay(result, options.alpha).save(file, "JPEG", quality=_QUALITY)
    return EncodedResponse(file.getvalue(), CONTENT_TYPE)


def min_bytes(pixels: int, _: int) -> int:
    """Return a lower bound on the bytes of a JPEG of `pixels`.

    An 8×8 block takes at least 6 bits for brightness or 4 for colour (ITU-T T.81, annex K); 16×16 pixels have 4 and 2 blocks.
    """
    return pixels // 64


def draw_overlay(result: Segmentation, alpha: float = AnswerOptions().alpha) -> Image.Image:
    """Draw the photograph at the image's size, RGB, tinted with opacity `alpha`, 0..1; background stays untinted.

    Raises:
        ValueError: `result` has no photograph.
    """
    if result.image is None:
        raise ValueError("an overlay needs the photograph, but only a smaller copy of it was decoded")
    picture = Image.fromarray(result.image)
    palette = np.asarray(result.labels.palette, np.uint8)
    opacity = np.full(len(palette), round(255 * alpha), np.uint8)
    if result.labels.background is not None:
        opacity[result.labels.background] = 0
    for rows in row_strips(*result.label_map.shape):
        labels = result.label_map[rows]
        mask = _map_labels(labels, opacity)
        if (box := mask.getbbox()) is not None:
            left, top, right, bottom = box
            colours = _map_labels(labels[top:bottom, left:right], palette)
            picture.paste(colours, (left, rows.start + top), mask.crop(box))
    _draw_legend(picture, result)
    return picture


def _map_labels(labels: LabelMap, table: npt.NDArray[np.uint8]) -> Image.Image:
    """Return `table[labels]` as a picture, grey or RGB; for 8-bit labels, Pillow's lookup is faster than NumPy's."""
    if labels.dtype != np.uint8:
        return Image.fromarray(table[labels])
    picture = Image.fromarray(labels)
    if table.ndim == 1:
        return picture.point([*table.tolist(), *[0] * (256 - len(table))])
    picture.putpalette(table.tobytes())
    return picture.convert("RGB")


def _draw_legend(picture: Image.Image, result: Segmentation) -> None:
    """Draw swatches and names of the classes in the image, largest first."""
    names = result.labels.names
    pixels = find_column_runs(result.label_map).count_pixels(len(names))
    visible_classes = [int(i) for i in np.argsort(-pixels, kind="stable") if pixels[i] and i != result.labels.background]
    if not visible_classes:
        return
    legend = Legend.for_picture(picture)
    entries = [(_draw_swatch(result.labels.palette[index], legend.text_size), names[index]) for index in visible_classes]
    legend.draw(picture, entries, names_left=legend.margin + legend.row, height=len(entries) * legend.row + legend.margin)


def _draw_swatch(colour: Colour, size: int) -> Image.Image:
    swatch = Image.new("RGB", (size + 1, size + 1))
    ImageDraw.Draw(swatch).rectangle((0, 0, size, size), fill=colour, outline="white")
    return swatch

"""Draw predictions for a few images next to the truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from handler.geometry import RGBImage
from handler.labels import Labels
from handler.masks.label_map import LabelMap
from scripts.mask_overlay import colours, tint

_CELL = 320
_GAP = 12
_TEXT = 16
_HEADINGS = ("photograph", "truth", "prediction")
_PAPER, _INK = "#ffffff", "#222831"


def draw_samples(
    images: Sequence[RGBImage],
    truths: Sequence[LabelMap],
    predictions: Sequence[LabelMap],
    labels: Labels,
    out: Path,
    rows: int = 8,
) -> None:
    """Draw the photograph, truth and prediction of the first `rows` images side by side as a PNG, with a legend of classes.

    Args:
        images: uint8 RGB, H×W×3.
        truths, predictions: class indices, H×W like the image; 255 is void.

    Raises:
        ValueError: the three sequences differ in length, or are empty.
    """
    if not len(images) == len(truths) == len(predictions) > 0:
        raise ValueError(
            f"{len(images)} images, {len(truths)} truths, {len(predictions)} predictions: must be equal and at least 1"
        )
    strips = [
        _row((image, tint(image, truth, labels), tint(image, prediction, labels)))
        for image, truth, prediction in list(zip(images, truths, predictions, strict=True))[:rows]
    ]
    occurring = np.unique(np.concatenate([np.ravel(mask) for mask in (*truths[:rows], *predictions[:rows])]))
    width = 3 * _CELL + 4 * _GAP
    parts = [_headings(width), *strips, _legend([int(index) for index in occurring], labels, width)]
    sheet = Image.new("RGB", (width, sum(part.height for part in parts)), _PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, "PNG")


def _row(pictures: Sequence[RGBImage]) -> Image.Image:
    height, width = pictures[0].shape[:2]
    scale = min(_CELL / width, _CELL / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    row = Image.new("RGB", (3 * _CELL + 4 * _GAP, size[1] + _GAP), _PAPER)
    for column, picture in enumerate(pictures):
        left = _GAP + column * (_CELL + _GAP) + (_CELL - size[0]) // 2
        row.paste(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS), (left, 0))
    return row


def _headings(width: int) -> Image.Image:
    strip = Image.new("RGB", (width, _TEXT + 2 * _GAP), _PAPER)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(_TEXT)
    for column, heading in enumerate(_HEADINGS):
        middle = _GAP + column * (_CELL + _GAP) + _CELL / 2
        draw.text((middle, strip.height / 2), heading, fill=_INK, font=font, anchor="mm")
    return strip


def _legend(indices: Sequence[int], labels: Labels, width: int) -> Image.Image:
    """Draw swatches and names from left to right, wrapped to `width`."""
    font = ImageFont.load_default(_TEXT)
    line = round(1.6 * _TEXT)
    entries: list[tuple[int, str, int, int]] = []
    left, top = _GAP, _GAP // 2
    for index in indices:
        name = labels.names[index] if index < len(labels.names) else "void"
        entry = round(_TEXT * 1.4 + font.getlength(name)) + 2 * _GAP
        if left > _GAP and left + entry > width:
            left, top = _GAP, top + line
        entries.append((index, name, left, top))
        left += entry
    strip = Image.new("RGB", (width, top + line + _GAP // 2), _PAPER)
    draw, palette = ImageDraw.Draw(strip), colours(labels)
    for index, name, left, top in entries:
        colour = tuple(palette[index].tolist())
        draw.rectangle((left, top + 3, left + _TEXT, top + 3 + _TEXT), fill=colour, outline=_INK)
        draw.text((left + _TEXT * 1.4, top + 3 + _TEXT / 2), name, fill=_INK, font=font, anchor="lm")
    return strip

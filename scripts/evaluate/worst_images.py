"""Write a page of the worst images: photograph, truth and prediction side by side."""

import html
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from handler.labels import Labels
from scripts.datasets import SegmentationData
from scripts.evaluate.scoring import Result, WorstImage
from scripts.mask_overlay import VOID_COLOUR, tint

_PICTURES = Path("worst")
_PANELS = ("photo", "truth", "prediction")
_MAX_SIDE = 420
_QUALITY = 88

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1320px; padding: 0 1em; color: #222 }}
section {{ border-top: 1px solid #ccc; padding: 1em 0 }}
h2 {{ font-size: 1.05em; margin: 0 0 .5em }}
.pictures {{ display: flex; flex-wrap: wrap; gap: 10px }}
figure {{ margin: 0 }}
figcaption, .note {{ color: #666; font-size: .9em }}
img {{ display: block; max-width: 100% }}
ul {{ list-style: none; display: flex; flex-wrap: wrap; gap: .3em 1.4em; margin: .6em 0 0; padding: 0 }}
i {{ display: inline-block; width: .9em; height: .9em; border: 1px solid #888; margin-right: .4em; vertical-align: -.1em }}
</style>
<h1>{title}</h1>
<p>Lowest mean IoU first, over the classes in the truth or the prediction.
<span class="note">Background is shown in grey; <i style="background: {void}"></i>void does not count.</span></p>
{sections}
</html>
"""


def write_worst(folder: Path, result: Result, data: SegmentationData) -> Path:
    """Write `folder/worst.html` and its pictures; links are relative, so the folder can be moved.

    Pictures from an earlier run are removed.

    Raises:
        DataError: an image can no longer be read.
    """
    (folder / _PICTURES).mkdir(parents=True, exist_ok=True)
    for earlier in (path for name in _PANELS for path in (folder / _PICTURES).glob(f"[0-9]*-{name}.jpg")):
        earlier.unlink()
    sections = [_section(folder, rank, image, result.labels, data) for rank, image in enumerate(result.worst, 1)]
    title = f"The {len(result.worst)} worst of {len(result.images)} images of {html.escape(data.name)}"
    page = folder / "worst.html"
    page.write_text(_PAGE.format(title=title, sections="\n".join(sections), void=_css(VOID_COLOUR)))
    return page


def _section(folder: Path, rank: int, image: WorstImage, labels: Labels, data: SegmentationData) -> str:
    """Write the pictures of one image, and return its section of the page."""
    photo, truth = data.read(image.sample)
    figures = []
    for name, pixels in zip(_PANELS, (photo, tint(photo, truth, labels), tint(photo, image.predicted, labels)), strict=True):
        path = _PICTURES / f"{rank:03}-{name}.jpg"
        picture = Image.fromarray(pixels)
        picture.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.BILINEAR)
        picture.save(folder / path, quality=_QUALITY, subsampling=0)
        tag = f'<img src="{path.as_posix()}" width="{picture.width}" height="{picture.height}" alt="{name}" loading="lazy">'
        figures.append(f"<figure>{tag}<figcaption>{name}</figcaption></figure>")
    scores = image.scores
    heading = f"{rank}. {html.escape(image.sample.name)}: mIoU {scores.miou:.3f}, pixel accuracy {scores.pixel_accuracy:.3f}"
    if scores.mean_boundary_iou is not None:
        heading += f", boundary IoU {scores.mean_boundary_iou:.3f}"
    classes = "".join(f"<li>{item}</li>" for item in _classes(image, labels))
    return f'<section><h2>{heading}</h2><div class="pictures">{"".join(figures)}</div><ul>{classes}</ul></section>'


def _classes(image: WorstImage, labels: Labels) -> Iterator[str]:
    """Yield the colour, name and IoU of each class in the truth or the prediction, the largest first."""
    true, predicted = image.scores.pixels, image.scores.confusion.sum(0)
    for index in np.argsort(-(true + predicted), kind="stable"):
        if not true[index] + predicted[index]:
            return
        note = " (not there)" if not true[index] else " (not found)" if not image.scores.confusion[index, index] else ""
        swatch = f'<i style="background: {labels.hex_colour(int(index))}"></i>'
        yield f"{swatch}{html.escape(labels.names[index])} {image.scores.iou[index]:.2f}{note}"


def _css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)

"""Draw a contact sheet: photographs next to their answers."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from handler.answers.fonts import load_font
from handler.errors import SegmentationError
from handler.image.decode import decode_image
from handler.limits import Limits
from model.atomic import write_atomically
from scripts.segment.answer_images import Reader
from scripts.segment.output_paths import Task

MAX_PHOTOGRAPHS = 48
_SIDE = 200
_GAP = 12
_TEXT = 13
_COLUMNS = 3
_QUALITY = 88
#: Photographs decoded at once, each at full size.
_THREADS = 4
_PAPER, _INK, _FAINT = "#ffffff", "#222831", "#e4e7eb"
#: The server has accepted these photographs, whatever its limits.
_LIMITS = Limits(max_bytes=2**62, max_pixels=2**62)


class NothingToDraw(ValueError):
    """None of the answers can be drawn."""


@dataclass(frozen=True)
class _Pair:
    name: str
    #: Both images have the same size.
    photograph: Image.Image
    answer: Image.Image
    #: Why the images are blank, if they are.
    fault: str = ""

    @property
    def caption(self) -> str:
        return f"{self.name}: {self.fault}" if self.fault else self.name


def draw_sheet(tasks: Sequence[Task], read_answer: Reader, path: Path, title: str) -> None:
    """Draw up to `MAX_PHOTOGRAPHS` evenly spaced photographs next to their answers, as a JPEG.

    Args:
        tasks: at least one, all answered.
        read_answer: converts an answer to an RGB image.
        path: file to write.
        title: heading, printed after the number of images.

    Raises:
        NothingToDraw: no answer can be drawn.
    """
    selected = [tasks[index] for index in np.unique(np.linspace(0, len(tasks) - 1, MAX_PHOTOGRAPHS).round().astype(int))]
    with ThreadPoolExecutor(_THREADS) as pool:
        pairs = list(pool.map(lambda task: _load_pair(task, read_answer), selected))
    if all(pair.fault for pair in pairs):
        raise NothingToDraw(pairs[0].caption)
    columns = min(_COLUMNS, len(pairs))
    rows = [_row(pairs[start : start + columns]) for start in range(0, len(pairs), columns)]
    parts = [_heading(f"{len(pairs):,} of {len(tasks):,} images: {title}", max(row.width for row in rows)), *rows]
    sheet = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), _PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    write_atomically(path, file.getvalue(), durable=False)


def _load_pair(task: Task, read_answer: Reader) -> _Pair:
    try:
        photograph = Image.fromarray(decode_image(task.photograph.path.read_bytes(), _LIMITS))
        scale = min(1, _SIDE / max(photograph.size))
        size = max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale))
        answer = read_answer(task.answer.read_bytes()).resize(size, Image.Resampling.LANCZOS)
        return _Pair(task.photograph.name, photograph.resize(size, Image.Resampling.LANCZOS), answer)
    except (OSError, SegmentationError, ValueError, LookupError) as error:
        # Files may have changed since an earlier run.
        blank = Image.new("RGB", (_SIDE, _SIDE // 2), _FAINT)
        return _Pair(task.photograph.name, blank, blank, fault=str(error))


def _row(pairs: Sequence[_Pair]) -> Image.Image:
    tallest = max(pair.photograph.height for pair in pairs)
    cell = 2 * _SIDE + 2 * _GAP
    row = Image.new("RGB", (len(pairs) * cell + _GAP, tallest + _TEXT + 2 * _GAP), _PAPER)
    draw, font = ImageDraw.Draw(row), load_font(_TEXT)
    for column, pair in enumerate(pairs):
        left = _GAP + column * cell
        # Both images touch the line between them, whatever their shapes.
        middle, top = left + _SIDE, tallest - pair.photograph.height
        row.paste(pair.photograph, (middle - pair.photograph.width, top))
        row.paste(pair.answer, (middle + 2, top))
        draw.text((middle, tallest + _TEXT), _fit_text(pair.caption, font, cell - _GAP), fill=_INK, font=font, anchor="mm")
    return row


def _heading(title: str, width: int) -> Image.Image:
    strip = Image.new("RGB", (width, _TEXT + 2 * _GAP), _PAPER)
    font = load_font(_TEXT)
    text = _fit_text(title, font, width - 2 * _GAP)
    ImageDraw.Draw(strip).text((width / 2, strip.height / 2), text, fill=_INK, font=font, anchor="mm")
    return strip


def _fit_text(name: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return as much of the name's end as fits; file names may contain bytes that are not text."""
    name = name.encode(errors="replace").decode()
    start = next(start for start in range(len(name) + 1) if font.getlength("…" * bool(start) + name[start:]) <= width)
    return "…" * bool(start) + name[start:]

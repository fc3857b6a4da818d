"""Report an evaluation as a table, as JSON, and with its confusion matrix as a picture."""

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scripts.evaluate.metrics import Scores
from scripts.evaluate.scoring import Result

_DIGITS = 4
#: Most classes for which cells show their values.
_MAX_ANNOTATED_CLASSES = 30


def table(scores: Scores, names: tuple[str, ...]) -> str:
    """Return the scores by class and their means, as text."""
    width = max(16, *(len(name) + 2 for name in names))
    boundary = _boundary(scores)
    rows = [f"{'class':<{width}}{'IoU':>8}{'boundary':>10}{'accuracy':>10}{'pixels':>13}{'images':>8}"]
    for index, name in enumerate(names):
        figures = f"{_cell(scores.iou[index], 8)}{_cell(boundary[index], 10)}{_cell(scores.accuracy[index], 10)}"
        rows.append(f"{name:<{width}}{figures}{scores.pixels[index]:>13,}{scores.images[index]:>8,}")
    means = {
        "mIoU": scores.miou,
        "boundary IoU": scores.mean_boundary_iou,
        "mean accuracy": scores.mean_accuracy,
        "pixel accuracy": scores.pixel_accuracy,
    }
    measured = {name: value for name, value in means.items() if value is not None}
    mean_rows = (f"{name:<{width}}{_cell(value, 8)}" for name, value in measured.items())
    return "\n".join([*rows, "", *mean_rows, *_describe_absences(scores, names)])


def describe_doubt(result: Result) -> str:
    """Return calibration and rankings as text."""
    if result.calibration is None:
        return "a server returns only labels; evaluate its checkpoint or archive for calibration and review"
    figures = {
        "expected calibration error": result.calibration.reliability.ece,
        "negative log-likelihood": result.calibration.nll,
    }
    lines = [f"{name:<28}{_cell(value, 8)}" for name, value in figures.items()]
    if result.rankings:
        lines.append(f"\n{'images ranked by':<28}{'AUROC':>8}{'AURC':>8}")
    rows = (f"{name:<28}{_cell(rank.auroc, 8)}{_cell(rank.aurc, 8)}" for name, rank in result.rankings.items())
    return "\n".join([*lines, *rows])


def _describe_absences(scores: Scores, names: tuple[str, ...]) -> list[str]:
    """Return sentences on the classes that are never labelled, and how they affect the means."""
    predicted = scores.confusion.sum(0)
    groups = {
        "labelled nowhere but predicted, so they count as 0 in mIoU": [i for i in scores.unlabelled if predicted[i]],
        "neither labelled nor predicted, so they do not count": [i for i in scores.unlabelled if not predicted[i]],
    }
    lines = [f"{text}: {', '.join(names[index] for index in indices)}" for text, indices in groups.items() if indices]
    if scores.only_background:
        lines.append("only background is labelled, so there are no means: a model that finds nothing would be perfect")
    return ["", *lines] if lines else []


def write_json(path: Path, result: Result, conditions: Mapping[str, Any]) -> None:
    """Write all scores and the `conditions` under which they were measured; undefined scores are null."""
    scores = result.scores
    boundary = _boundary(scores)
    content = {
        **conditions,
        "miou": _number(scores.miou),
        "boundary_iou": _number(scores.mean_boundary_iou),
        "mean_accuracy": _number(scores.mean_accuracy),
        "pixel_accuracy": _number(scores.pixel_accuracy),
        **_doubt(result),
        "labelled_nowhere": [result.labels.names[index] for index in scores.unlabelled],
        "classes": [
            {
                "index": index,
                "name": name,
                "iou": _number(scores.iou[index]),
                "boundary_iou": _number(boundary[index]),
                "accuracy": _number(scores.accuracy[index]),
                "pixels": int(scores.pixels[index]),
                "images": int(scores.images[index]),
            }
            for index, name in enumerate(result.labels.names)
        ],
        "confusion": scores.confusion.tolist(),
        "images": [
            {
                "name": image.name,
                "miou": _number(image.miou),
                "boundary_iou": _number(image.boundary_iou),
                "pixel_accuracy": _number(image.pixel_accuracy),
                "review": _number(image.review),
                "confidence": _number(image.confidence),
            }
            for image in result.images
        ],
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _doubt(result: Result) -> dict[str, Any]:
    """Return calibration and rankings as JSON values, or nothing for a server, which returns only labels."""
    if result.calibration is None:
        return {}
    confidence, accuracy = result.calibration.reliability.points
    pixels = result.calibration.reliability.pixels
    bins = zip(confidence, accuracy, pixels[pixels > 0].tolist(), strict=True)
    return {
        "ece": _number(result.calibration.reliability.ece),
        "nll": _number(result.calibration.nll),
        "reliability": [{"confidence": _number(x), "accuracy": _number(y), "pixels": count} for x, y, count in bins],
        "rankings": {
            name: {"auroc": _number(rank.auroc), "aurc": _number(rank.aurc)} for name, rank in result.rankings.items()
        },
    }


def draw_confusion(path: Path, scores: Scores, names: tuple[str, ...]) -> None:
    """Draw the fraction of each true class (row) predicted as each class (column)."""
    count = len(names)
    with np.errstate(invalid="ignore"):
        shares = scores.confusion / scores.confusion.sum(1, keepdims=True)
    side = max(5.0, 0.42 * count + 2)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xticks=range(count), yticks=range(count), xlabel="predicted", ylabel="true", title="Share of each true class")
    axes.set_xticklabels(names, rotation=90, parse_math=False)
    axes.set_yticklabels(names, parse_math=False)
    for row, column in np.argwhere(shares >= 0.005) if count <= _MAX_ANNOTATED_CLASSES else ():
        share = shares[row, column]
        text = "1" if share > 0.995 else f"{share:.2f}".removeprefix("0")
        axes.text(column, row, text, ha="center", va="center", size=7, color="white" if share > 0.5 else "black")
    for row in np.flatnonzero(scores.pixels == 0).tolist() if count <= _MAX_ANNOTATED_CLASSES else ():
        axes.text(count / 2 - 0.5, row, "not in the data", ha="center", va="center", size=7, color="grey")
    figure.colorbar(picture, shrink=0.6)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # Characters missing from the font become boxes; scores.json has the names.
        figure.savefig(path, dpi=110)


def _boundary(scores: Scores) -> Any:
    return np.full(scores.iou.shape, np.nan) if scores.boundary_iou is None else scores.boundary_iou


def _cell(value: float, width: int) -> str:
    return f"{'–':>{width}}" if math.isnan(value) else f"{value:>{width}.4f}"


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(float(value), _DIGITS)

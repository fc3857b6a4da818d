"""Let a predictor label a data set, and keep what a report needs."""

from dataclasses import dataclass

import numpy as np

from handler.labels import Labels
from handler.masks.label_map import LabelMap
from scripts.datasets import DataError, Sample, SegmentationData
from scripts.evaluate.metrics import Scores, compare
from scripts.evaluate.predictors import Predictor
from scripts.progress import progress


@dataclass(frozen=True)
class ImageScores:
    """How one image scored, over the classes there or predicted; NaN if all of it is void."""

    name: str
    miou: float
    boundary_iou: float
    pixel_accuracy: float


@dataclass(frozen=True)
class WorstImage:
    """One of the worst images."""

    sample: Sample
    scores: Scores
    predicted: LabelMap


@dataclass(frozen=True)
class Result:
    """What came of a data set."""

    labels: Labels
    scores: Scores
    #: In the data set's order.
    images: tuple[ImageScores, ...]
    #: By rising mIoU.
    worst: tuple[WorstImage, ...]


def evaluate(predictor: Predictor, data: SegmentationData, *, worst: int = 0) -> Result:
    """Score `predictor` on every image of `data`, at the images' own sizes, and keep the `worst` so many by mIoU.

    Raises:
        DataError: a pair cannot be read.
        PredictionError: an image cannot be segmented.
    """
    classes = len(predictor.labels.names)
    predictions = predictor.label_maps(sample.image for sample in data.samples)
    total = Scores.zero(classes, boundary=True)
    figures: list[ImageScores] = []
    misses: list[WorstImage] = []
    for sample, predicted in zip(progress(data.samples, "evaluating"), predictions, strict=True):
        scores = compare(predicted, data.read(sample)[1], classes, boundary=True)
        total += scores
        figures.append(_figures(sample, scores))
        if not np.isnan(scores.miou):
            misses = sorted([*misses, WorstImage(sample, scores, predicted)], key=lambda miss: miss.scores.miou)[:worst]
    return Result(predictor.labels, total, tuple(figures), tuple(misses))


def require_same_classes(labels: Labels, data: SegmentationData) -> str | None:
    """Refuse a data set whose classes cannot be the model's.

    Returns:
        A sentence on names that differ where order and number do not speak against it; None if all agree or `data` has none.

    Raises:
        DataError: another number of classes, or the same names in another order.
    """
    if data.classes is None or data.classes == labels.names:
        return None
    if len(data.classes) != len(labels.names):
        raise DataError(f"{data.root}: has {len(data.classes)} classes, the model has {len(labels.names)}")
    pairs = list(zip(data.classes, labels.names, strict=True))
    differing = ", ".join(
        f"{i} is {own!r} here, {other!r} in the model" for i, (own, other) in enumerate(pairs) if own != other
    )
    if sorted(data.classes) == sorted(labels.names):
        raise DataError(f"{data.root}: has the model's classes in another order: {differing}")
    return f"class names differ, which is taken for spelling: {differing}"


def _figures(sample: Sample, scores: Scores) -> ImageScores:
    boundary = scores.mean_boundary_iou
    return ImageScores(sample.name, scores.miou, float("nan") if boundary is None else boundary, scores.pixel_accuracy)

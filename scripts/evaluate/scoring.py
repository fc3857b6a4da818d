"""Score a predictor on a data set, and collect what a report needs."""

from argparse import Namespace
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from handler.labels import Labels
from handler.masks.label_map import LabelMap
from scripts.class_names import canonical_names
from scripts.data_options import data_source
from scripts.datasets import DataError, Sample, SegmentationData, open_data
from scripts.errors import print_warning
from scripts.evaluate.doubt import PixelCalibration, Ranking
from scripts.evaluate.metrics import Scores, compare
from scripts.evaluate.predictors import Predictor
from scripts.progress import progress


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image, over the classes in its truth or prediction; NaN if all its pixels are void."""

    name: str
    miou: float
    boundary_iou: float
    pixel_accuracy: float
    #: The image's review score and mean confidence; None from a server, which returns only labels.
    review: float | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class WorstImage:
    """One of the images with the lowest mIoU."""

    sample: Sample
    scores: Scores
    predicted: LabelMap


@dataclass(frozen=True)
class Result:
    """Scores of a data set and of its images, and the worst images."""

    labels: Labels
    scores: Scores
    #: In the data set's order.
    images: tuple[ImageScores, ...]
    #: Lowest mIoU first.
    worst: tuple[WorstImage, ...]
    #: None from a server, which returns only labels.
    calibration: PixelCalibration | None = None

    @property
    def rankings(self) -> dict[str, Ranking]:
        """How measures of doubt, and the error itself, rank images by error, 1 - mIoU; empty without probabilities or mIoU."""
        if self.scores.only_background:
            return {}
        ranked = [image for image in self.images if image.review is not None and not np.isnan(image.miou)]
        errors = [1 - image.miou for image in ranked]
        doubts = {
            "review": [image.review or 0.0 for image in ranked],
            "mean confidence": [1 - (image.confidence or 0.0) for image in ranked],
            "mIoU itself": errors,
        }
        return {name: Ranking.of(doubt, errors) for name, doubt in doubts.items() if ranked}


def evaluate(predictor: Predictor, data: SegmentationData, *, worst: int = 0) -> Result:
    """Score `predictor` on every image of `data`, at original size, and keep the `worst` images with the lowest mIoU.

    Raises:
        DataError: a pair cannot be read.
        PredictionError: an image cannot be segmented.
    """
    classes = len(predictor.labels.names)
    predictions = predictor.predict(sample.image for sample in data.samples)
    total = Scores.zero(classes, boundary=True, background=predictor.labels.background)
    images: list[ImageScores] = []
    worst_images: list[WorstImage] = []
    calibrations: list[PixelCalibration] = []
    for sample, prediction in zip(progress(data.samples, "evaluating"), predictions, strict=True):
        predicted, truth = prediction.label_map, data.read_mask(sample)
        scores = compare(predicted, truth, classes, boundary=True)
        total += scores
        images.append(_image_scores(sample, scores))
        if prediction.segmentation is not None:
            calibrations.append(PixelCalibration.measure(prediction.segmentation, truth))
            review, confidence = prediction.segmentation.review, calibrations[-1].confidence
            images[-1] = replace(images[-1], review=review, confidence=confidence)
        if not np.isnan(scores.miou):
            worst_images.append(WorstImage(sample, scores, predicted))
            worst_images = sorted(worst_images, key=lambda image: image.scores.miou)[:worst]
    calibration = reduce(add, calibrations, PixelCalibration.zero()) if calibrations else None
    return Result(predictor.labels, total, tuple(images), tuple(worst_images), calibration)


def open_labelled_data(arguments: Namespace, labels: Labels) -> SegmentationData:
    """Open the data named on the command line (`--data`, `--images`, `--mask-values`, `--split`), with the model's classes.

    Raises:
        ConfigurationError: `--data` is a YAML file with a wrong key or value.
        DataError: the data cannot be used, or their classes differ from the model's.
    """
    data = open_data(data_source(arguments), arguments.split, classes=labels.names)
    warning = require_same_classes(labels, data)
    for text in (*data.notes, *([f"{data.root}: {warning}"] if warning else [])):
        print_warning(text)
    return data


def require_same_classes(labels: Labels, data: SegmentationData) -> str | None:
    """Check that a data set's classes can be the model's.

    Returns:
        A warning if names differ at the same positions, or None if all agree or `data` does not name its classes.

    Raises:
        DataError: the number of classes differs, or the same names are in another order.
    """
    model_names = canonical_names(labels.names)
    if data.classes is None or canonical_names(data.classes) == model_names:
        return None
    if len(data.classes) != len(model_names):
        raise DataError(f"{data.root}: has {len(data.classes)} classes, the model has {len(model_names)}")
    pairs = list(zip(data.classes, model_names, strict=True))
    differing = ", ".join(
        f"{i} is {data_name!r} here, {model_name!r} in the model"
        for i, (data_name, model_name) in enumerate(pairs)
        if data_name != model_name
    )
    if sorted(data.classes) == sorted(model_names):
        raise DataError(f"{data.root}: has the model's classes in another order: {differing}")
    return f"class names differ, presumably in spelling: {differing}"


def _image_scores(sample: Sample, scores: Scores) -> ImageScores:
    boundary = scores.mean_boundary_iou
    return ImageScores(sample.name, scores.miou, float("nan") if boundary is None else boundary, scores.pixel_accuracy)

"""Measure the accuracy that a network loses by quantization."""

from collections.abc import Iterable
from dataclasses import dataclass

from handler.geometry import RGBImage
from handler.options import InferenceOptions
from handler.pipeline import Pipeline
from scripts.datasets import Mask
from scripts.evaluate.metrics import Scores, compare


@dataclass(frozen=True)
class AccuracyLoss:
    """How two models differ on the same images."""

    images: int
    #: Fraction of all pixels that both models label the same.
    equal_labels: float
    #: Scores against true labels; None if the images have none.
    before: Scores | None = None
    after: Scores | None = None

    @property
    def points(self) -> float | None:
        """Return the mIoU lost, in percent, or None without true labels."""
        return None if self.before is None or self.after is None else 100 * (self.before.miou - self.after.miou)


def measure_loss(before: Pipeline, after: Pipeline, images: Iterable[tuple[RGBImage, Mask | None]]) -> AccuracyLoss:
    """Compare two models at the images' original sizes, at a single scale.

    Args:
        before: the network in float32.
        after: the quantized network.
        images: one or more, uint8 H×W×3, each with its true labels, or all with None.
    """
    classes, options = len(before.labels.names), InferenceOptions()
    scores_before, scores_after = Scores.zero(classes), Scores.zero(classes)
    count = equal = pixels = labelled = 0
    for image, truth in images:
        labels_before, labels_after = (pipeline.segment(image, options).label_map for pipeline in (before, after))
        count += 1
        equal += int((labels_before == labels_after).sum())
        pixels += labels_before.size
        if truth is not None:
            labelled += 1
            scores_before += compare(labels_before, truth, classes)
            scores_after += compare(labels_after, truth, classes)
    return AccuracyLoss(count, equal / pixels, scores_before, scores_after) if labelled else AccuracyLoss(count, equal / pixels)

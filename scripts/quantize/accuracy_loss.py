"""What a quantized network labels otherwise than the network it was made of."""

from collections.abc import Iterable
from dataclasses import dataclass

from handler.geometry import RGBImage
from handler.options import InferenceOptions
from handler.pipeline import Pipeline
from scripts.datasets import Mask
from scripts.evaluate.metrics import Scores, compare


@dataclass(frozen=True)
class Loss:
    """Two models on the same images."""

    images: int
    #: Share of all pixels that both label alike.
    equal_labels: float
    #: Against true labels; None where the images have none.
    before: Scores | None = None
    after: Scores | None = None

    @property
    def points(self) -> float | None:
        """Lost mIoU, in percent."""
        return None if self.before is None or self.after is None else 100 * (self.before.miou - self.after.miou)


def measure(before: Pipeline, after: Pipeline, images: Iterable[tuple[RGBImage, Mask | None]]) -> Loss:
    """Compare two models at the images' own sizes, at a single scale.

    Args:
        before: the network as it was.
        after: the quantized one.
        images: at least one, each with its true labels; all without, where there are none.
    """
    classes, options = len(before.labels.names), InferenceOptions()
    first, second = Scores.zero(classes), Scores.zero(classes)
    count = equal = pixels = labelled = 0
    for image, truth in images:
        own, others = (pipeline.segment(image, options).label_map for pipeline in (before, after))
        count += 1
        equal += int((own == others).sum())
        pixels += own.size
        if truth is not None:
            labelled += 1
            first += compare(own, truth, classes)
            second += compare(others, truth, classes)
    return Loss(count, equal / pixels, first, second) if labelled else Loss(count, equal / pixels)

"""Scores of label maps against the truth, from counts that add up over images."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt

from handler.masks.label_map import LabelMap
from model import Evaluation
from scripts.datasets import VOID
from scripts.evaluate.boundary_iou import boundary_counts

Counts = npt.NDArray[np.int64]
#: One value per class, in 0..1; NaN if undefined.
Fractions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BoundaryCounts:
    """Pixel counts of the boundary regions, by class."""

    intersection: Counts
    union: Counts

    def __add__(self, other: "BoundaryCounts") -> "BoundaryCounts":
        return BoundaryCounts(self.intersection + other.intersection, self.union + other.union)


@dataclass(frozen=True)
class Scores:
    """Agreement over one image or many: counts, and the scores derived from them, in 0..1.

    A class that is neither in the truth nor predicted has NaN, and means are over the other classes; so a class that is
    predicted but nowhere in the truth counts as 0. If the truth holds no class except `background`, all means are NaN, because
    a model that finds nothing would be perfect.
    """

    #: Pixels by true class (rows) and predicted class (columns), without void.
    confusion: Counts
    #: Number of images with the class in their truth.
    images: Counts
    boundary: BoundaryCounts | None = None
    #: The class that gives no score on its own; None if every class does.
    background: int | None = None

    @classmethod
    def zero(cls, num_classes: int, *, boundary: bool = False, background: int | None = None) -> "Scores":
        """Return the scores of no images, to which others can be added."""
        zeros = np.zeros(num_classes, np.int64)
        edges = BoundaryCounts(zeros, zeros) if boundary else None
        return cls(np.zeros((num_classes, num_classes), np.int64), zeros, edges, background)

    def __add__(self, other: "Scores") -> "Scores":
        """Add the counts of both, without the boundary if either lacks it; keep this one's background."""
        boundary = self.boundary + other.boundary if self.boundary and other.boundary else None
        return Scores(self.confusion + other.confusion, self.images + other.images, boundary, self.background)

    @property
    def unlabelled(self) -> tuple[int, ...]:
        """The classes that never occur in the truth."""
        return tuple(np.flatnonzero(self.pixels == 0).tolist())

    @property
    def only_background(self) -> bool:
        """Whether the truth holds background and no other class."""
        return self.background is not None and np.flatnonzero(self.pixels).tolist() == [self.background]

    @property
    def pixels(self) -> Counts:
        """True pixels by class."""
        pixels: Counts = self.confusion.sum(1)
        return pixels

    @property
    def iou(self) -> Fractions:
        """Intersection over union by class."""
        hits = np.diag(self.confusion)
        return _ratio(hits, self.confusion.sum(0) + self.confusion.sum(1) - hits)

    @property
    def accuracy(self) -> Fractions:
        """The fraction of each class's true pixels that are predicted as it; NaN for a class without true pixels."""
        return _ratio(np.diag(self.confusion), self.pixels)

    @property
    def boundary_iou(self) -> Fractions | None:
        """Boundary IoU by class (Cheng et al. 2021), or None if it was not measured."""
        return None if self.boundary is None else _ratio(self.boundary.intersection, self.boundary.union)

    @property
    def miou(self) -> float:
        return self._mean(self.iou)

    @property
    def mean_accuracy(self) -> float:
        return self._mean(self.accuracy)

    @property
    def mean_boundary_iou(self) -> float | None:
        by_class = self.boundary_iou
        return None if by_class is None else self._mean(by_class)

    @property
    def pixel_accuracy(self) -> float:
        """The fraction of all pixels with the right label."""
        return float("nan") if self.only_background else float(_ratio(np.trace(self.confusion), self.confusion.sum()))

    def evaluation(self, dataset: str, conditions: str) -> Evaluation:
        """Return the means in the form that a checkpoint's metadata stores."""
        edges = self.mean_boundary_iou
        return Evaluation(
            dataset=dataset,
            miou=round(self.miou, 4),
            pixel_accuracy=round(self.pixel_accuracy, 4),
            boundary_iou=None if edges is None else round(edges, 4),
            conditions=conditions,
        )

    def _mean(self, values: Fractions) -> float:
        defined = values[~np.isnan(values)]
        return float(defined.mean()) if defined.size and not self.only_background else float("nan")


def compare(predicted: LabelMap, true: LabelMap, num_classes: int, *, boundary: bool = False) -> Scores:
    """Score one image's label map against the truth, both H×W; pixels whose truth is void (255) do not count.

    Raises:
        ValueError: the maps differ in size, or contain an index that is not a class.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"the predicted label map has (height, width) {predicted.shape}, the true one {true.shape}")
    for name, labels in (("predicted", predicted), ("true", true[true != VOID])):
        if labels.size and labels.max() >= num_classes:
            raise ValueError(f"the {name} label map holds index {labels.max()}; there are {num_classes} classes")
    # torchmetrics counts the same, but importing it takes seconds.
    valid = true != VOID
    cells = true[valid].astype(np.int64) * num_classes + predicted[valid]
    confusion = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    edges = BoundaryCounts(*boundary_counts(predicted, true, num_classes)) if boundary else None
    return Scores(confusion, (confusion.sum(1) > 0).astype(np.int64), edges)


def score(pairs: Iterable[tuple[LabelMap, LabelMap]], num_classes: int, *, boundary: bool = False) -> Scores:
    """Add up the scores of pairs of (predicted, true) label maps.

    Raises:
        ValueError: `compare` refuses a pair.
    """
    scores = (compare(predicted, true, num_classes, boundary=boundary) for predicted, true in pairs)
    return reduce(add, scores, Scores.zero(num_classes, boundary=boundary))


def _ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Fractions:
    """Return part / whole, with NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return np.true_divide(numerator, denominator)

"""How well label maps agree with ground truth."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from handler.labelmap import LabelMap
from scripts.training.voc import VOID, VocFolder


@dataclass(frozen=True)
class Scores:
    """Figures over a whole data set, all in 0..1."""

    #: Intersection over union by class; NaN for a class that is neither there nor predicted.
    iou: npt.NDArray[np.float64]
    pixel_accuracy: float

    @property
    def miou(self) -> float:
        """Mean over the classes that occur."""
        return float(np.nanmean(self.iou))


def score(pairs: Iterable[tuple[LabelMap, LabelMap]], num_classes: int) -> Scores:
    """Compare (predicted, true) label maps of equal size; pixels whose truth is void count for nothing."""
    confusion = MulticlassConfusionMatrix(num_classes, ignore_index=VOID)
    for predicted, true in pairs:
        confusion.update(torch.from_numpy(predicted.astype(np.int64)), torch.from_numpy(true.astype(np.int64)))
    counts = confusion.compute().numpy().astype(np.float64)
    hits = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hits
    with np.errstate(invalid="ignore"):
        return Scores(hits / union, float(hits.sum() / counts.sum()))


def score_folder(segment: Callable[[npt.NDArray[np.uint8]], LabelMap], folder: VocFolder, num_classes: int) -> Scores:
    """Score `segment` (image H×W×3 to label map H×W) on every image of `folder`, at the images' own sizes."""
    pairs = (folder.read(image_id) for image_id in folder.ids)
    return score(((segment(image), mask) for image, mask in pairs), num_classes)

"""Evaluate models with other classes on PASCAL VOC's annotations, using the classes that both share.

A pixel counts if its annotation is a shared class or background (no shared class), but not if it is another VOC class or void.
VOC annotates every pixel of a shared class, so a model's label there is right or wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from handler.masks.segmentation import Segmentation
from scripts.calibrate.pixel_sample import PixelSample
from scripts.calibrate.reliability import Reliability
from scripts.class_names import read_class_names
from scripts.datasets import VOID, Mask
from scripts.evaluate.metrics import Counts, Fractions

#: VOC's classes, with the models' names for them. Classes of different scope (VOC's potted plants, dining tables) are omitted.
SHARED: dict[str, dict[str, tuple[str, ...]]] = {
    "scenes": {"person": ("person",), "car": ("car",), "chair": ("chair", "armchair"), "sofa": ("sofa",)},
    "streets": {
        "person": ("person", "rider"),
        "car": ("car",),
        "bus": ("bus",),
        "train": ("train",),
        "motorbike": ("motorcycle",),
        "bicycle": ("bicycle",),
    },
}
#: Marks pixels without a shared class in a mask of shared classes.
_OTHER = VOID - 1


@dataclass(frozen=True)
class SharedClasses:
    """The classes that a model shares with PASCAL VOC, numbered in the order of `names`."""

    #: VOC's names.
    names: tuple[str, ...]
    #: The shared class, `_OTHER` or `VOID`, by VOC's index.
    voc_to_shared: Mask
    #: The shared class or `_OTHER`, by the model's index.
    model_to_shared: Mask

    @classmethod
    def find(cls, shared: Mapping[str, Sequence[str]], classes: Sequence[str]) -> Self:
        """Look up the names in `shared`, the model's by VOC's, in VOC's class names and the model's `classes`."""
        voc_to_shared, model_to_shared = np.full(256, VOID, np.uint8), np.full(256, _OTHER, np.uint8)
        voc_to_shared[0] = _OTHER
        voc = read_class_names()
        for number, (name, model_names) in enumerate(shared.items()):
            voc_to_shared[voc.index(name)] = number
            model_to_shared[[classes.index(model_name) for model_name in model_names]] = number
        return cls(tuple(shared), voc_to_shared, model_to_shared)

    def confusion(self, result: Segmentation, annotation: Mask) -> Counts:
        """Count pixels by annotated and predicted shared class, int64 (n+1)×(n+1); the last index means no shared class."""
        truth, predicted = self.voc_to_shared[annotation], self.model_to_shared[result.label_map]
        valid, size = truth != VOID, len(self.names) + 1
        truth, predicted = (np.minimum(mask[valid], size - 1).astype(np.int64) for mask in (truth, predicted))
        return np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)

    def sample(self, result: Segmentation, annotation: Mask, count: int, seed: int) -> PixelSample:
        """Take up to `count` pixels whose label is a shared class; their truth is the annotated shared class.

        Choosing by label rather than annotation keeps the sample fair: a calibrated model is right as often as it claims among
        the pixels with a given label, not among those with a given truth.
        """
        labelled = self.model_to_shared[result.label_map] != _OTHER
        return PixelSample.take(result, np.where(labelled, self.voc_to_shared[annotation], VOID).astype(np.uint8), count, seed)

    def reliability(self, sample: PixelSample, temperature: float) -> Reliability:
        """Return how often the labels of `sample` are right; the confidence sums the model's classes of a shared class."""
        group = torch.from_numpy(self.model_to_shared.astype(np.int64))
        label = group[sample.label]
        confidence = torch.zeros(len(sample))
        for index in np.flatnonzero(self.model_to_shared != _OTHER):
            probability = sample.probability(torch.full_like(sample.label, int(index)), temperature)
            confidence += torch.where(label == self.model_to_shared[index].item(), probability, 0)
        return Reliability.count(confidence.clamp(0, 1).double().numpy(), (label == sample.truth).numpy())


def intersection_over_union(confusion: Counts) -> Fractions:
    """Return the IoU of each shared class; NaN if it is neither annotated nor predicted."""
    hits = np.diag(confusion).astype(float)
    union = confusion.sum(0) + confusion.sum(1) - hits
    iou: Fractions = np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)
    return iou[:-1]

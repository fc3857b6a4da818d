"""The segmentation of one image before it is encoded: labels, probabilities, class names."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from handler.geometry import DecodedImage, RGBImage, Size
from handler.labels import Labels
from handler.masks.label_map import LabelMap, calibrate, make_label_map, softmax
from handler.masks.refinement import RefinementReport
from handler.masks.review import review_score

#: `make_label_map`, or an engine's own equivalent.
Labeller = Callable[[npt.NDArray[np.float32], Size, npt.DTypeLike], LabelMap]


@dataclass(frozen=True)
class Segmentation:
    """Labels and probabilities of one image."""

    #: The upright image, H×W×3, or None if only a smaller copy of it was decoded.
    image: RGBImage | None
    #: Class indices, unsigned H×W at the image's size.
    label_map: LabelMap
    #: Class probabilities, float32 C×h×w on the grid that `label_map` was interpolated from: the network's calibrated
    #: probabilities, or the CRF's.
    probabilities: npt.NDArray[np.float32]
    labels: Labels
    #: How the probabilities were refined, or None if they were not.
    refinement: RefinementReport | None = None

    @cached_property
    def review(self) -> float:
        """1 minus the mean IoU that the probabilities predict, 0..1; cached, because answers and metrics both use it."""
        return review_score(self.label_map, self.probabilities)


def segment_from_logits(
    image: DecodedImage,
    logits: npt.NDArray[np.float32],
    labels: Labels,
    make_labels: Labeller = make_label_map,
    temperature: float = 1.0,
) -> Segmentation:
    """Label each pixel of `image` with the argmax of the interpolated `logits`, C×h×w; `temperature` does not affect labels."""
    label_map = make_labels(logits, image.size, labels.dtype)
    return Segmentation(image.photograph, label_map, softmax(logits, temperature), labels)


def segment_from_probabilities(
    image: DecodedImage,
    probabilities: npt.NDArray[np.float32],
    labels: Labels,
    refinement: RefinementReport | None = None,
    make_labels: Labeller = make_label_map,
    temperature: float = 1.0,
) -> Segmentation:
    """Label each pixel of `image` with the argmax of the interpolated `probabilities`, C×h×w, then calibrate them.

    Between grid points this may differ from the argmax of interpolated logits, but a mean over views has no logits.
    """
    label_map = make_labels(probabilities, image.size, labels.dtype)
    return Segmentation(image.photograph, label_map, calibrate(probabilities, temperature), labels, refinement)


def keep_classes(result: Segmentation, classes: Collection[int]) -> Segmentation:
    """Turn every class not in `classes` into background, in the probabilities too.

    If the model has no background class, one is added as the last class.
    """
    labels, background = result.labels.with_background()
    kept_classes = [index for index in classes if index != background]
    dropped_classes = [index for index in range(len(result.labels.names)) if index not in kept_classes]
    new_index = np.full(len(labels.names), background, labels.dtype)
    new_index[kept_classes] = kept_classes
    probabilities = np.zeros((len(labels.names), *result.probabilities.shape[1:]), np.float32)
    probabilities[kept_classes] = result.probabilities[kept_classes]
    probabilities[background] = result.probabilities[dropped_classes].sum(axis=0)
    return replace(result, label_map=new_index[result.label_map], probabilities=probabilities, labels=labels)

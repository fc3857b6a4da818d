"""Measure whether a model knows when it is wrong: calibration over pixels, and how doubt ranks images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from handler.masks.confidence import interpolate_confidence
from handler.masks.segmentation import Segmentation
from scripts.calibrate.reliability import Reliability
from scripts.datasets import VOID, Mask

Floats = npt.NDArray[np.float64]

#: Keeps one pixel with probability 0 from dominating.
_MIN_PROBABILITY = 1e-12


@dataclass(frozen=True)
class PixelCalibration:
    """How well pixel probabilities match the truth, over one image or many, without void."""

    reliability: Reliability
    #: Sum of the negative log-likelihoods of the true classes, in nats.
    nll_sum: float

    @classmethod
    def zero(cls) -> "PixelCalibration":
        """Return the calibration of no images, to which others can be added."""
        return cls(Reliability.zero(), 0.0)

    @classmethod
    def measure(cls, result: Segmentation, truth: Mask) -> "PixelCalibration":
        """Measure one image against its truth, H×W, 255 for void."""
        valid = truth != VOID
        true_class = np.where(valid, truth, 0).astype(result.label_map.dtype)
        label_confidence, truth_confidence = (
            _confidence(replace(result, label_map=classes))[valid] for classes in (result.label_map, true_class)
        )
        nll = -np.log(truth_confidence.clip(_MIN_PROBABILITY, 1)).sum()
        return cls(Reliability.count(label_confidence.clip(0, 1), (result.label_map == truth)[valid]), float(nll))

    def __add__(self, other: "PixelCalibration") -> "PixelCalibration":
        return PixelCalibration(self.reliability + other.reliability, self.nll_sum + other.nll_sum)

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood of a pixel's true class, in nats; NaN without pixels."""
        pixels = int(self.reliability.pixels.sum())
        return self.nll_sum / pixels if pixels else float("nan")

    @property
    def confidence(self) -> float:
        """Mean confidence; NaN without pixels."""
        pixels = int(self.reliability.pixels.sum())
        return float(self.reliability.confidence.sum()) / pixels if pixels else float("nan")


def _confidence(result: Segmentation) -> Floats:
    return np.concatenate([values for _, values in interpolate_confidence(result)]).astype(np.float64)


@dataclass(frozen=True)
class Ranking:
    """How well a measure of doubt ranks images by their error, 1 - mIoU."""

    #: Probability that an image with mIoU below the median has more doubt than one without; NaN if none is below.
    auroc: float
    #: Area under the risk-coverage curve: mean error of the images with the least doubt, averaged over all counts.
    aurc: float

    @classmethod
    def of(cls, doubt: Sequence[float], errors: Sequence[float]) -> "Ranking":
        """Compare the ranking of one or more images by `doubt`, where greater is worse, with `errors`, 0..1."""
        scores, risks = np.array(doubt), np.array(errors)
        worse = risks > np.median(risks)
        curve = np.cumsum(risks[np.argsort(scores, kind="stable")]) / np.arange(1, risks.size + 1)
        return cls(_auroc(scores[worse], scores[~worse]), float(curve.mean()))


def _auroc(worse: Floats, better: Floats) -> float:
    """Return the probability that a value in `worse` exceeds one in `better`, ties counting half; NaN if either is empty."""
    if not worse.size or not better.size:
        return float("nan")
    below = sum(np.searchsorted(np.sort(better), worse, side).mean() for side in ("left", "right"))
    return float(below) / 2 / better.size

"""Reliability: how often labels are correct at each confidence, from counts that add up over images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

#: Bins of equal width (Guo et al. 2017, section 2).
BINS = 15
_EDGES = np.linspace(0, 1, BINS + 1)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """Pixel counts by confidence: bin i holds confidences from i / `BINS` to (i + 1) / `BINS`."""

    pixels: npt.NDArray[np.int64]
    #: Sums over each bin's pixels.
    confidence: Floats
    correct: npt.NDArray[np.int64]

    @classmethod
    def zero(cls) -> "Reliability":
        """Return counts of zero, to which others can be added."""
        return cls(np.zeros(BINS, np.int64), np.zeros(BINS), np.zeros(BINS, np.int64))

    @classmethod
    def count(cls, confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_]) -> "Reliability":
        """Count n pixels by their label's probability, 0..1, and whether the label is correct."""
        bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        return cls(
            np.bincount(bins, minlength=BINS),
            np.bincount(bins, confidence, BINS).astype(np.float64),
            np.bincount(bins[correct], minlength=BINS),
        )

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(self.pixels + other.pixels, self.confidence + other.confidence, self.correct + other.correct)

    @property
    def ece(self) -> float:
        """Expected calibration error (Guo et al. 2017, equation 3), 0..1; NaN without pixels."""
        total = self.pixels.sum()
        return float(np.abs(self.confidence - self.correct).sum() / total) if total else float("nan")

    @property
    def points(self) -> tuple[Floats, Floats]:
        """Mean confidence and accuracy of each non-empty bin."""
        nonempty = self.pixels > 0
        return self.confidence[nonempty] / self.pixels[nonempty], self.correct[nonempty] / self.pixels[nonempty]


def draw_reliability(path: Path, curves: Mapping[str, Reliability], title: str) -> None:
    """Draw accuracy over confidence for one or more models, by name, and the pixels in each bin, as a PNG."""
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    curve, bars = figure.subplots(2, height_ratios=(3, 1), sharex=True)
    curve.plot((0, 1), (0, 1), color="grey", linewidth=1, linestyle="--", label="perfectly calibrated")
    for name, counts in curves.items():
        (line,) = curve.plot(*counts.points, marker="o", markersize=4, label=f"{name}: ECE {counts.ece:.2%}")
        bars.stairs(counts.pixels / max(1, counts.pixels.sum()), _EDGES, color=line.get_color())
    curve.set_title(title, fontsize=10, wrap=True)
    curve.set(ylabel="accuracy", ylim=(0, 1))
    curve.legend(loc="upper left")
    bars.set(xlabel="confidence", ylabel="share of pixels", xlim=(0, 1), yscale="log")
    figure.savefig(path, dpi=90)

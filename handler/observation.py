"""A few numbers about an image and its answer, for metrics and drift detection.

Imports nothing heavy, because front processes import it.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Observation:
    """Statistics of one image and its segmentation."""

    #: The image's height × width, in millions.
    megapixels: float
    #: Mean of the red, green and blue samples of a grid of pixels, 0..1.
    brightness: float
    #: Mean probability of the winning class on the network's grid, 0..1.
    confidence: float
    #: 1 minus the mean IoU that the probabilities predict, 0..1 (`handler.masks.review`).
    review: float
    #: Share of the network's grid by class index, 0..1; absent classes are omitted.
    shares: Mapping[int, float]
    #: Class indices at `SAMPLE_SIDE`² points of the image, row by row, as native uint16; empty unless requested.
    sample: bytes = b""


#: Each side is divided into this many equal parts; the sample points are their centres.
SAMPLE_SIDE = 64

#: Upper bounds of each quantity's histogram bins; the last bin has none.
BOUNDS: Mapping[str, tuple[float, ...]] = {
    "megapixels": (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.25, 2, 3, 5, 8, 12, 16, 25, 50),
    "brightness": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "confidence": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99),
    "review": (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7),
}
SHARE_BOUNDS = (0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)

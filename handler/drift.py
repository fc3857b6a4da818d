"""Measure how far recent images differ from a reference recorded at packaging. Imports nothing heavy."""

import math
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from handler.observation import BOUNDS, Observation

#: The quantity in addition to those in `BOUNDS`: which classes the images show.
CLASSES = "classes"
#: Images in a window.
RECENT_IMAGES = 500
#: Shares are summed as integers in units of 1/10,000, so that removing an image leaves no rounding error.
_SHARE_SCALE = 10_000


@dataclass(frozen=True)
class Distribution:
    """How images are distributed over the bins of each quantity, and over the classes."""

    images: int
    #: Images in each bin of the quantities in `BOUNDS`.
    bins: Mapping[str, tuple[int, ...]]
    #: Mean share by class index, 0..1.
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Reference:
    """Statistics of the images on which a model was accepted."""

    #: The folder of these images.
    source: str
    distribution: Distribution


class Window:
    """The distribution of the most recent images."""

    def __init__(self, classes: int, max_images: int = RECENT_IMAGES) -> None:
        """Start an empty window of the last `max_images` images, for a model with `classes` classes."""
        self._max_images = max_images
        self._images: deque[tuple[Mapping[str, int], Mapping[int, int]]] = deque()
        self._bins = {name: [0] * (len(bounds) + 1) for name, bounds in BOUNDS.items()}
        self._share_units = Counter[int]()
        self._classes = classes

    def __len__(self) -> int:
        return len(self._images)

    def add(self, observation: Observation) -> None:
        """Add an image, and drop the oldest one if the window is full."""
        bins = {name: bisect_left(bounds, getattr(observation, name)) for name, bounds in BOUNDS.items()}
        share_units = {index: round(share * _SHARE_SCALE) for index, share in observation.shares.items()}
        self._images.append((bins, share_units))
        self._count(bins, share_units, 1)
        if len(self._images) > self._max_images:
            self._count(*self._images.popleft(), -1)

    def _count(self, bins: Mapping[str, int], share_units: Mapping[int, int], sign: int) -> None:
        for name, position in bins.items():
            self._bins[name][position] += sign
        for index, units in share_units.items():
            self._share_units[index] += sign * units

    def distribution(self) -> Distribution:
        """Return the distribution of the images in the window; all counts and shares are 0 if it is empty."""
        total = self._share_units.total() or 1
        shares = tuple(self._share_units[index] / total for index in range(self._classes))
        return Distribution(len(self), {name: tuple(counts) for name, counts in self._bins.items()}, shares)


def collect(observations: Iterable[Observation], classes: int) -> Distribution:
    """Return the distribution of all `observations` of a model with `classes` classes."""
    images = list(observations)
    window = Window(classes, len(images))
    for observation in images:
        window.add(observation)
    return window.distribution()


def drift(reference: Distribution, recent: Distribution) -> dict[str, float]:
    """Return the distance of `recent` from `reference` for each quantity and for the classes; empty if either has no images."""
    if not reference.images or not recent.images:
        return {}
    sizes = reference.images, recent.images
    distances = {name: distance(reference.bins[name], recent.bins[name], sizes) for name in BOUNDS}
    return {**distances, CLASSES: distance(reference.shares, recent.shares, sizes)}


def distance(reference: Sequence[float], recent: Sequence[float], images: tuple[int, int]) -> float:
    """Return the Jensen-Shannon distance of two histograms beyond what chance explains: 0 (alike) to 1 (nothing in common).

    The divergence D, in bits (Lin 1991), of two samples from one distribution over k bins is on average
    (k-1)·v with v = (1/n + 1/m) / (8·ln 2), n and m being the numbers of images, and its standard deviation is √(2(k-1))·v:
    to second order D/v is distributed as χ² with k-1 degrees of freedom. The distance is the root of the amount by which D
    exceeds that mean plus two standard deviations.

    Args:
        reference: a weight for each bin, with any total above 0.
        recent: a weight for each of the same bins.
        images: the number of images in each histogram.
    """
    first, second = (_normalize(weights) for weights in (reference, recent))
    degrees_of_freedom = sum(p + q > 0 for p, q in zip(first, second, strict=True)) - 1
    divergence = sum(_divergence_term(p, q) + _divergence_term(q, p) for p, q in zip(first, second, strict=True)) / 2
    v = sum(1 / count for count in images) / (8 * math.log(2))
    by_chance = (degrees_of_freedom + 2 * math.sqrt(2 * degrees_of_freedom)) * v
    return math.sqrt(min(1.0, max(0.0, divergence - by_chance)))


def _normalize(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]


def _divergence_term(p: float, q: float) -> float:
    return p * math.log2(2 * p / (p + q)) if p > 0 else 0.0

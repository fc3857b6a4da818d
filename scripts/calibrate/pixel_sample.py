"""A sample of labelled pixels with the surrounding logits, small enough to fit a temperature in memory."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from handler.grid import find_neighbours
from handler.masks.segmentation import Segmentation
from scripts.calibrate.reliability import Reliability
from scripts.datasets import VOID, Mask

#: Most logits in a sample: 64 MB.
MAX_LOGITS = 1 << 24
#: Grid points around a pixel.
_CORNERS = 4
#: The logarithms of smaller probabilities are not finite in float32.
_MIN_PROBABILITY = 1e-37


@dataclass(frozen=True)
class PixelSample:
    """n pixels whose served probabilities can be computed at any temperature."""

    #: Log probabilities at the four grid points around each pixel, float32 n×4×C.
    logits: Tensor
    #: Weight of each grid point, float32 n×4.
    weights: Tensor
    #: Class indices, int64 n.
    label: Tensor
    truth: Tensor

    @classmethod
    def take(cls, result: Segmentation, truth: Mask, count: int, seed: int) -> "PixelSample":
        """Take up to `count` random pixels that are not void in `truth`, H×W like the image; `result` must be uncalibrated."""
        labelled_pixels = np.flatnonzero(truth.ravel() != VOID)
        pixel_indices = np.random.default_rng(seed).choice(labelled_pixels, min(count, labelled_pixels.size), replace=False)
        rows, columns = np.divmod(pixel_indices, truth.shape[1])
        (above, below, down), (left, right, across) = (
            tuple(values[positions] for values in find_neighbours(points, length))
            for points, length, positions in zip(result.probabilities.shape[1:], truth.shape, (rows, columns), strict=True)
        )
        corners = [(above, left), (above, right), (below, left), (below, right)]
        weights = [(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across]
        probabilities = np.stack([result.probabilities[:, row, column].T for row, column in corners], axis=1)
        return cls(
            torch.from_numpy(probabilities).clamp(min=_MIN_PROBABILITY).log(),
            torch.from_numpy(np.stack(weights, axis=1).astype(np.float32)),
            *(torch.from_numpy(indices.ravel()[pixel_indices].astype(np.int64)) for indices in (result.label_map, truth)),
        )

    @classmethod
    def join(cls, samples: Iterable["PixelSample"]) -> "PixelSample":
        """Concatenate one or more samples."""
        fields = zip(*((sample.logits, sample.weights, sample.label, sample.truth) for sample in samples), strict=True)
        return cls(*(torch.cat(tensors) for tensors in fields))

    def __len__(self) -> int:
        return len(self.truth)

    def probability(self, classes: Tensor, temperature: float | Tensor) -> Tensor:
        """Return the probability of each pixel's class in `classes`, int64 n, at a temperature, as float32 n."""
        probabilities = (self.logits / temperature).softmax(2)
        class_probabilities = probabilities.gather(2, classes[:, None, None].expand(-1, _CORNERS, 1))[:, :, 0]
        return (class_probabilities * self.weights).sum(1)

    def nll(self, temperature: float | Tensor) -> Tensor:
        """Return the mean negative log-likelihood of the true classes, in nats."""
        return -self.probability(self.truth, temperature).clamp(min=_MIN_PROBABILITY).log().mean()

    def reliability(self, temperature: float) -> Reliability:
        """Return how often labels are right, by confidence."""
        confidence = self.probability(self.label, temperature).clamp(0, 1).double().numpy()
        return Reliability.count(confidence, (self.label == self.truth).numpy())


def pixels_per_image(images: int, classes: int) -> int:
    """Return how many pixels to take per image, so that a sample has at most `MAX_LOGITS` logits."""
    return max(1, MAX_LOGITS // (images * _CORNERS * classes))

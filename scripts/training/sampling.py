"""Draw the image of each training crop, in an order that a resumed run can repeat."""

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler


@dataclass(frozen=True)
class Draw:
    """One crop: the index of its image and the seed of its random numbers."""

    index: int
    seed: int


class Draws(Sampler[Draw]):
    """One rank's draws in one epoch, a pure function of seed and epoch.

    The ranks take turns, so that together they see the same images as a single process with their combined batch size.

    Args:
        count: number of images; an epoch has this many draws, minus the remainder that cannot be divided among the ranks.
        weights: relative frequency of each image, drawn with replacement; by default each image is drawn once.
        seed: the run's seed, 0 or more.
        rank: index of this process among `world_size` processes.

    Raises:
        ValueError: there are no images, the weights are not one per image or all 0, or `rank` is out of range.
    """

    def __init__(
        self, count: int, *, weights: Sequence[float] | None = None, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        if count < 1:
            raise ValueError(f"{count} images: must be 1 or more")
        if weights is not None and len(weights) != count:
            raise ValueError(f"{len(weights)} weights for {count} images: must be one per image")
        if weights is not None and not (min(weights) >= 0 and max(weights) > 0):
            raise ValueError(f"weights from {min(weights)} to {max(weights)}: must be 0 or more, and one above 0")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank}: must be 0 or more and less than the world size, {world_size}")
        self._count = count
        self._weights = None if weights is None else np.asarray(weights, np.float64)
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0
        self._skipped = 0

    def __len__(self) -> int:
        """Return the number of this rank's draws in a whole epoch, regardless of `skip`."""
        return self._count // self._world_size

    def set_epoch(self, epoch: int) -> None:
        """Move to the start of an epoch."""
        self._epoch, self._skipped = epoch, 0

    def skip(self, draws: int) -> None:
        """Skip this rank's first `draws` in this epoch, which an interrupted run has already seen."""
        self._skipped = draws

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self._seed, self._epoch])
        indices = self._indices(rng)
        seeds = rng.integers(2**63, size=self._count)
        rank_draws = slice(self._rank, len(self) * self._world_size, self._world_size)
        for index, seed in zip(indices[rank_draws][self._skipped :], seeds[rank_draws][self._skipped :], strict=True):
            yield Draw(int(index), int(seed))

    def _indices(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        if self._weights is None:
            return rng.permutation(self._count)
        return rng.choice(self._count, self._count, p=self._weights / self._weights.sum())


def balanced_weights(classes_present: Sequence[Set[int]], background: int | None = 0, power: float = 0.5) -> list[float]:
    """Return a relative frequency for each image that draws rare classes more often.

    The weight is that of the image's rarest class other than background, `images(class) ** -power`. A power of 0 draws images
    equally often, so that a class with two images is hardly ever seen; 1 draws classes equally often, so that these two images
    are in every batch; the inverse square root is a compromise.

    Args:
        classes_present: the classes in each image, without void.
        background: the class that nearly every image has, if any. An image with only background is weighted like one of a
            class that is in every image.
    """
    present = [classes - {background} for classes in classes_present]
    images = Counter(index for classes in present for index in classes)
    return [max((images[index] ** -power for index in classes), default=len(present) ** -power) for classes in present]

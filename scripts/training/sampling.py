"""Which image each training crop is cut from, in an order that a resumed run can repeat."""

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler


@dataclass(frozen=True)
class Draw:
    """One crop to come: the image's index, and the seed of everything random about the crop."""

    index: int
    seed: int


class Draws(Sampler[Draw]):
    """One epoch's draws of one rank, a pure function of the seed and the epoch.

    The ranks take turns, so that together they see what one process with a batch as large as all of theirs would see.

    Args:
        count: images to draw from; an epoch has as many draws, less those by which the ranks would be uneven.
        weights: how often each image is drawn, relative to the others, with replacement. Left out: each image once.
        seed: of the run, 0 or more.
        rank: of this process among `world_size` of them.

    Raises:
        ValueError: if there is no image, not one weight per image, no weight above 0 or no such rank.
    """

    def __init__(
        self, count: int, *, weights: Sequence[float] | None = None, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        if count < 1:
            raise ValueError(f"{count} images: there must be at least one to draw")
        if weights is not None and len(weights) != count:
            raise ValueError(f"{len(weights)} weights for {count} images: there must be one for each")
        if weights is not None and not (min(weights) >= 0 and max(weights) > 0):
            raise ValueError(f"weights from {min(weights)} to {max(weights)}: none may be negative, and not all 0")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank}: must be 0 or more and less than the world size, {world_size}")
        self._count = count
        self._weights = None if weights is None else np.asarray(weights, np.float64)
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0
        self._start = 0

    def __len__(self) -> int:
        """This rank's draws in a whole epoch, wherever it starts."""
        return self._count // self._world_size

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self._epoch, self._start = epoch, 0

    def start_at(self, draws: int) -> None:
        """Leave out the first `draws` of this rank in this epoch, which an interrupted run has already seen."""
        self._start = draws

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self._seed, self._epoch])
        indices = self._indices(rng)
        seeds = rng.integers(2**63, size=self._count)
        mine = slice(self._rank, len(self) * self._world_size, self._world_size)
        for index, seed in zip(indices[mine][self._start :], seeds[mine][self._start :], strict=True):
            yield Draw(int(index), int(seed))

    def _indices(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        if self._weights is None:
            return rng.permutation(self._count)
        return rng.choice(self._count, self._count, p=self._weights / self._weights.sum())


def balanced_weights(classes_present: Sequence[Set[int]], background: int | None = 0, power: float = 0.5) -> list[float]:
    """How often each image should be drawn, relative to the others, so that rare classes are seen more often.

    An image counts by its rarest class other than background, as `images(class) ** -power`. A power of 0 draws images alike,
    which hardly ever shows a class of two images; 1 draws classes alike, which shows those two in every batch; the inverse
    square root lies between them.

    Args:
        classes_present: the classes in each image, void left out.
        background: the class that nearly every image has, if there is one. An image of nothing else counts like one of a
            class that is in every image.
    """
    present = [classes - {background} for classes in classes_present]
    images = Counter(index for classes in present for index in classes)
    return [max((images[index] ** -power for index in classes), default=len(present) ** -power) for classes in present]

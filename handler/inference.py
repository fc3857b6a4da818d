"""Which images go through the engine together."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from handler.engines import Engine
from handler.geometry import PreparedImage


def batches(images: Mapping[int, PreparedImage], max_batch: int) -> Iterator[list[int]]:
    """Keys of `images`, grouped by equal network size, at most `max_batch` together.

    Images are never padded to a common size: ASPP's image pooling would see the padding, and the answer would change.
    """
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for key, image in images.items():
        by_shape[image.pixels.shape].append(key)
    for keys in by_shape.values():
        for start in range(0, len(keys), max_batch):
            yield keys[start : start + max_batch]


def infer(images: Sequence[PreparedImage], engine: Engine) -> list[npt.NDArray[np.float32]]:
    """Logits C×h×w of each image; all must have one size and fit one batch of the engine."""
    return list(engine.infer(np.stack([image.pixels for image in images])))

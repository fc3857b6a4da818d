"""Plan how the network sees an image (tiles, scales, mirror images), run it on these views, and average its output."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from handler import aten
from handler.errors import SegmentationError, capture
from handler.geometry import DecodedImage, RGBImage, Size, network_size
from handler.network.engines.base import Engine, Logits
from handler.network.tiling import WHOLE_IMAGE, Tile, blend, list_tiles, min_untiled_size, resize_tile
from handler.options import InferenceOptions
from handler.stages import Observer, timed
from model.metadata import ResizePolicy

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class View:
    """An image or one of its tiles, as one input of the network."""

    #: uint8 RGB h×w×3 at the network's resolution.
    pixels: RGBImage
    #: Whether left and right are swapped.
    mirrored: bool = False
    #: The part of the image that it shows.
    tile: Tile = WHOLE_IMAGE


@dataclass(frozen=True)
class ViewPlan:
    """The views of one image that the network is to see, determined by the image's size alone."""

    #: Height and width at which the network sees the image or a tile of it, one per scale.
    sizes: tuple[Size, ...]
    #: Tiles along each side.
    tiles: int
    #: Whether each view is also seen mirrored.
    mirrored: bool
    #: The smallest decode size at which neither a view nor a refinement's input has to be upscaled.
    min_decode_size: Size

    @classmethod
    def for_image(cls, size: Size, policy: ResizePolicy, options: InferenceOptions) -> "ViewPlan":
        """Plan the views of an image of `size` (height, width)."""
        sizes = tuple(network_size(policy, size, scale) for scale in options.scales)
        finest_size = network_size(policy, size, max(*options.scales, 1.0 if options.refine != "none" else 0.0))
        return cls(sizes, options.tiles, options.flip, min_untiled_size(finest_size, options.tiles))

    @property
    def pixels(self) -> int:
        """The total pixels of all views, which determine the network's time and memory."""
        return self.tiles**2 * (1 + self.mirrored) * sum(math.prod(size) for size in self.sizes)

    def make_views(self, image: DecodedImage) -> list[View]:
        """Cut and resize every view from `image` itself: each tile at each scale, followed by its mirror image if planned."""
        views = []
        for size in self.sizes:
            for tile in list_tiles(self.tiles):
                pixels = resize_tile(image, tile, size)
                views.append(View(pixels, tile=tile))
                if self.mirrored:
                    views.append(View(pixels[:, ::-1], mirrored=True, tile=tile))
        return views


def group_by_size(views: Mapping[Key, View], max_batch: int) -> Iterator[list[Key]]:
    """Group the keys of `views` by size, at most `max_batch` per group.

    Views are never padded to a common size: ASPP's image pooling would see the padding, and the answer would change.
    """
    keys_by_shape: dict[tuple[int, ...], list[Key]] = defaultdict(list)
    for key, view in views.items():
        keys_by_shape[view.pixels.shape].append(key)
    for keys in keys_by_shape.values():
        for start in range(0, len(keys), max_batch):
            yield keys[start : start + max_batch]


class EngineFault(RuntimeError):
    """The engine raised an exception, which is this one's cause."""


class NonFiniteLogits(EngineFault):
    """The engine returned NaN or infinite logits, from which no labels can be derived."""


def infer_batch(views: Sequence[View], engine: Engine) -> list[Logits]:
    """Run `engine` once on views of one size that fit in one batch: logits C×h×w for each.

    Raises:
        NonFiniteLogits: a logit is NaN or infinite.
        EngineFault: the engine fails in another way.
    """
    try:
        logits = engine.infer(np.stack([view.pixels for view in views]))
    except Exception as error:
        raise EngineFault(f"{engine.name} in {engine.precision}: {type(error).__name__}: {error}") from error
    if not np.isfinite(logits).all():
        raise NonFiniteLogits(f"{engine.name} in {engine.precision} gives logits that are not finite")
    return list(logits)


def infer_views(views: Sequence[View], engine: Engine, observe: Observer) -> list[Logits]:
    """Run `engine` on all views of one image: logits C×h×w for each, in order."""
    logits: dict[int, Logits] = {}
    for batch in group_by_size(dict(enumerate(views)), engine.max_batch):
        with timed("network", observe):
            logits.update(zip(batch, infer_batch([views[index] for index in batch], engine), strict=True))
    return [logits[index] for index in range(len(views))]


def infer_images(
    images: Mapping[Key, Sequence[View]], engine: Engine, observe: Observer
) -> dict[Key, list[Logits] | SegmentationError]:
    """Run `engine` on several images' views, batched by size: the logits of each image's views, or its error.

    If a batch fails, its views run one at a time, so that one image cannot make another fail.
    """
    views = {(key, position): view for key, members in images.items() for position, view in enumerate(members)}
    logits: dict[tuple[Key, int], Logits] = {}
    errors: dict[Key, SegmentationError] = {}

    def run(members: Sequence[tuple[Key, int]]) -> list[Logits]:
        with timed("network", observe):
            return infer_batch([views[member] for member in members], engine)

    for members in group_by_size(views, engine.max_batch):
        outcome = capture(run, members)
        if not isinstance(outcome, SegmentationError):
            logits.update(zip(members, outcome, strict=True))
            continue
        for member in members:
            retry_outcome = capture(run, [member]) if len(members) > 1 else outcome
            if isinstance(retry_outcome, SegmentationError):
                errors[member[0]] = retry_outcome
            else:
                logits[member] = retry_outcome[0]
    return {
        key: errors[key] if key in errors else [logits[key, position] for position in range(len(members))]
        for key, members in images.items()
    }


def mean_probabilities(views: Sequence[View], logits: Sequence[Logits]) -> npt.NDArray[np.float32]:
    """Average the class probabilities over all views of one image, each turned upright: float32 C×h×w.

    The mean is taken per tile, then the tiles are blended. The common grid of a tile's views is the finest one, from the
    largest scale, to which coarser views are interpolated (bilinear, half-pixel centres); so no view loses detail.

    Args:
        views: all views of the image.
        logits: C×h×w for each view, in the same order.
    """
    indices_by_tile: dict[Tile, list[int]] = defaultdict(list)
    for index, view in enumerate(views):
        indices_by_tile[view.tile].append(index)
    means = {
        tile: _mean_over_tile([views[index] for index in indices], [logits[index] for index in indices])
        for tile, indices in indices_by_tile.items()
    }
    return means[WHOLE_IMAGE] if WHOLE_IMAGE in means else blend(means)


def _mean_over_tile(views: Sequence[View], logits: Sequence[Logits]) -> npt.NDArray[np.float32]:
    grid = max((values.shape[1:] for values in logits), key=math.prod)
    total = np.zeros((logits[0].shape[0], *grid), np.float32)
    for view, values in zip(views, logits, strict=True):
        probabilities = aten.softmax(values)
        upright = probabilities[:, :, ::-1] if view.mirrored else probabilities
        total += upright if upright.shape[1:] == grid else aten.interpolate(upright, (grid[0], grid[1]))
    total /= len(views)
    return total

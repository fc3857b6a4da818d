"""How the network sees an image (tiles, scales, mirror images), which views go through the engine together, and their mean."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from handler.errors import SegmentationError, attempt
from handler.geometry import DecodedImage, RGBImage, Size, network_size
from handler.network.engines import Engine
from handler.network.tiling import WHOLE, Tile, blend, least_size, prepare_tiles
from handler.options import InferenceOptions
from handler.stages import Observer, timed
from model.metadata import ResizePolicy

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class View:
    """An image, or a tile of one, as the network sees it once."""

    #: uint8 RGB h×w×3, at the network's resolution.
    pixels: RGBImage
    #: Whether left and right are exchanged.
    mirrored: bool = False
    #: What it shows of the image.
    tile: Tile = WHOLE


def views(image: DecodedImage, policy: ResizePolicy, options: InferenceOptions) -> list[View]:
    """All that the network is to see of `image`: each tile at each scale, with its mirror image after it if `options` say so.

    Every view is made from the image itself.
    """
    found = []
    for scale in options.scales:
        for tile, pixels in prepare_tiles(image, policy, options.tiles, scale):
            found.append(View(pixels, tile=tile))
            if options.flip:
                found.append(View(pixels[:, ::-1], mirrored=True, tile=tile))
    return found


def needed_size(size: Size, policy: ResizePolicy, options: InferenceOptions) -> Size:
    """The least size of a copy of an image of `size` of which no view, nor what refines their answer, is an enlargement."""
    scale = max(*options.scales, 1.0) if options.refine != "none" else max(options.scales)
    return least_size(network_size(policy, size, scale), options.tiles)


def network_pixels(size: Size, policy: ResizePolicy, options: InferenceOptions) -> int:
    """Pixels of all `views` of an image of `size`: what the network's time and memory grow with."""
    at_all_scales = sum(math.prod(network_size(policy, size, scale)) for scale in options.scales)
    return options.tiles**2 * (1 + options.flip) * at_all_scales


def batches(views: Mapping[Key, View], max_batch: int) -> Iterator[list[Key]]:
    """Keys of `views`, grouped by equal network size, at most `max_batch` together.

    Views are never padded to a common size: ASPP's image pooling would see the padding, and the answer would change.
    """
    by_shape: dict[tuple[int, ...], list[Key]] = defaultdict(list)
    for key, view in views.items():
        by_shape[view.pixels.shape].append(key)
    for keys in by_shape.values():
        for start in range(0, len(keys), max_batch):
            yield keys[start : start + max_batch]


def infer(views: Sequence[View], engine: Engine) -> list[npt.NDArray[np.float32]]:
    """Logits C×h×w of each view; all must have one size and fit one batch of the engine.

    Raises:
        ArithmeticError: one is not finite, of which no label and no probability could be made.
    """
    logits = engine.infer(np.stack([view.pixels for view in views]))
    if not np.isfinite(logits).all():
        raise ArithmeticError(f"{engine.name} in {engine.precision} gives logits that are not finite")
    return list(logits)


def infer_each(
    seen: Mapping[Key, Sequence[View]], engine: Engine, observe: Observer
) -> dict[Key, list[npt.NDArray[np.float32]] | SegmentationError]:
    """The logits of all views of each image, or what went wrong with one of them; views of one size go together."""
    by_key = {(key, position): view for key, own in seen.items() for position, view in enumerate(own)}
    logits: dict[tuple[Key, int], npt.NDArray[np.float32]] = {}
    failed: dict[Key, SegmentationError] = {}

    def run(members: Sequence[tuple[Key, int]]) -> list[npt.NDArray[np.float32]]:
        with timed("network", observe):
            return infer([by_key[member] for member in members], engine)

    for members in batches(by_key, engine.max_batch):
        outcome = attempt(run, members)
        if not isinstance(outcome, SegmentationError):
            logits.update(zip(members, outcome, strict=True))
            continue
        # What one of them does to the engine is not to be the others' fault.
        for member in members:
            alone = attempt(run, [member]) if len(members) > 1 else outcome
            if isinstance(alone, SegmentationError):
                failed[member[0]] = alone
            else:
                logits[member] = alone[0]
    return {
        key: failed[key] if key in failed else [logits[key, position] for position in range(len(own))]
        for key, own in seen.items()
    }


def mean_probabilities(views: Sequence[View], logits: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """The mean over all views of the classes' probabilities, each view turned back: float32 C×h×w.

    The mean is taken in each tile, then the tiles are blended (`tiling.blend`). The common grid of a tile's views is
    the finest, the one of the largest scale: coarser views are interpolated to it (bilinear, half-pixel centres), so nothing
    that any view resolves is lost, and none is sampled between its cells with too few points.

    Args:
        views: of one image.
        logits: C×h×w of each view, in the same order.
    """
    by_tile: dict[Tile, list[int]] = defaultdict(list)
    for index, view in enumerate(views):
        by_tile[view.tile].append(index)
    means = {tile: _mean([views[i] for i in own], [logits[i] for i in own]) for tile, own in by_tile.items()}
    return means[WHOLE] if WHOLE in means else blend(means)


def _mean(views: Sequence[View], logits: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Of views of one tile."""
    grid = max((each.shape[1:] for each in logits), key=math.prod)
    total = torch.zeros(logits[0].shape[0], *grid)
    for view, each in zip(views, logits, strict=True):
        probabilities = torch.softmax(torch.from_numpy(each), dim=0)
        upright = probabilities.flip(2) if view.mirrored else probabilities
        if upright.shape[1:] != grid:
            upright = F.interpolate(upright[None], grid, mode="bilinear", align_corners=False)[0]
        total += upright
    mean: npt.NDArray[np.float32] = total.div_(len(views)).numpy()
    return mean

"""Explain why the network sees a class where it does: Seg-Grad-CAM on the last features.

Vinogradova, Dibrov & Myers, Towards Interpretable Semantic Segmentation via Gradient-Weighted Class Activation Mapping, 2020.
Grad-CAM for segmentation differentiates the sum of a class's logits over a set M of pixels. Here M is every cell of the
network's grid where the class wins, and the features are the backbone's last, before the head: the deepest ones, which the
paper found to be the most informative.

A class that wins nowhere is explained over the whole grid: this shows the evidence for it, although other classes have more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt

from handler.errors import InvalidOption
from handler.geometry import DecodedImage, RGBImage
from handler.labels import Labels
from handler.masks.explanation import Explanation
from handler.network.engines.base import Engine, Logits, Region
from handler.network.tiling import resize_to_network
from model.metadata import ResizePolicy


def explain(image: RGBImage, class_index: int | None, *, engine: Engine, labels: Labels, policy: ResizePolicy) -> Explanation:
    """Explain where `engine` sees a class in `image`, upright uint8 RGB H×W×3, at scale 1.

    Args:
        image: the image.
        class_index: the class; None for the one that wins most cells of the network's grid, except background unless it wins
            them all.
        engine: an engine with gradients.
        labels: the model's classes.
        policy: the model's input resolution.

    Raises:
        ExplanationUnavailable: the engine does not compute gradients.
        InvalidOption: the model has no such class.
    """
    if class_index is not None and not 0 <= class_index < len(labels.names):
        raise InvalidOption(f"class {class_index} does not exist; this model has the classes 0 to {len(labels.names) - 1}")
    choose = partial(choose_region, class_index=class_index, background=labels.background)
    region, activation = engine.class_activation(resize_to_network(DecodedImage.from_pixels(image), policy), choose)
    return Explanation(
        image=image,
        class_index=region.class_index,
        label=labels.names[region.class_index],
        heat=scale_to_unit(activation),
        cells=int(region.winning_cells.sum()),
    )


def choose_region(logits: Logits, *, class_index: int | None, background: int | None) -> Region:
    """Return the cells of `logits` (C×h×w) where a class wins; for None as `class_index`, see `explain`."""
    winners = logits.argmax(0)
    if class_index is None:
        cells = np.bincount(winners.ravel(), minlength=len(logits))
        if background is not None and cells[background] < winners.size:
            cells[background] = 0
        class_index = int(cells.argmax())
    return Region(class_index, winners == class_index)


def scale_to_unit(activation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale `activation`, 0 or more, to 0..1 by its maximum; zeros stay zeros."""
    maximum = activation.max()
    return activation / maximum if maximum > 0 else np.zeros_like(activation)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside the block. The setting is process-wide."""
    import torch

    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)

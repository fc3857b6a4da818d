"""Why a class was found where it was: Seg-Grad-CAM, on the network's last features.

Vinogradova, Dibrov & Myers, Towards Interpretable Semantic Segmentation via Gradient-Weighted Class Activation Mapping, 2020.
Grad-CAM for segmentation: what is differentiated is the sum of a class's logits over a set M of pixels. Here M is every cell of
the network's grid where the class wins, and the features are the backbone's last, before the head: the deepest, which the paper
found to tell most.

A class that wins nowhere is explained over the whole grid: what speaks for it there, though something else speaks louder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from handler.errors import ExplanationUnavailable, InvalidOption
from handler.geometry import DecodedImage, RGBImage, prepare
from handler.labels import Labels
from handler.masks.explanation import Explanation
from handler.network.engines import Engine, GradientEngine, Region
from model.metadata import ResizePolicy

Logits = npt.NDArray[np.float32]


def explain(image: RGBImage, class_index: int | None, *, engine: Engine, labels: Labels, policy: ResizePolicy) -> Explanation:
    """Explain where `engine` sees a class in `image`, upright uint8 RGB H×W×3, at scale 1.

    Args:
        class_index: the class; None: the one that wins most cells of the network's grid, background only if it wins them all.

    Raises:
        ExplanationUnavailable: the engine has no gradients.
        InvalidOption: the model has no such class.
    """
    if not isinstance(engine, GradientEngine):
        raise ExplanationUnavailable(
            f"an explanation needs gradients, which this server's engine ({type(engine).__name__}) does not have; "
            "its operator can choose the engine 'torch'"
        )
    if class_index is not None and not 0 <= class_index < len(labels.names):
        raise InvalidOption(f"class {class_index}: this model has the classes 0 to {len(labels.names) - 1}")
    choose = partial(choose_region, class_index=class_index, background=labels.background)
    region, activation = engine.class_activation(prepare(DecodedImage.whole(image), policy).pixels, choose)
    return Explanation(
        image=image,
        class_index=region.class_index,
        label=labels.names[region.class_index],
        heat=scaled(activation),
        cells=int(region.won.sum()),
    )


def choose_region(logits: Logits, *, class_index: int | None, background: int | None) -> Region:
    """The cells of `logits` (C×h×w) where a class wins; the class is chosen as `explain` says where `class_index` is None."""
    winners = logits.argmax(0)
    if class_index is None:
        cells = np.bincount(winners.ravel(), minlength=len(logits))
        if background is not None and cells[background] < winners.size:
            cells[background] = 0
        class_index = int(cells.argmax())
    return Region(class_index, winners == class_index)


def scaled(activation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`activation`, 0 or more, in 0..1: divided by its maximum, unless that is 0."""
    greatest = activation.max()
    return activation / greatest if greatest > 0 else np.zeros_like(activation)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch run on so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The states that training starts from: the published ones, adapted to half-pixel centres and photographs' colours."""

from collections.abc import Mapping

import torch
from torch import Tensor

#: Cityscapes' cameras have muted colours: in a vivid photograph the published network takes blue sky for a traffic sign. A
#: lower saturation makes it worse on Cityscapes' own images.
_SATURATION = 0.6


def start_scenes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of `scenes` with its cells moved to half-pixel centres.

    As published, the decoder reads the pyramid 0.375 cells of stride 16 too far right and down, and the logits are offset by
    0.375 cells of stride 4. Both shifts are built into the depthwise convolutions that follow.
    """
    moved = dict(state)
    first, second = "classifier.refine.0.0.weight", "classifier.refine.1.0.weight"
    pyramid = len(state["classifier.aspp.project.1.bias"])
    moved[first] = torch.cat([move_kernels(state[first][:pyramid], 1.5), state[first][pyramid:]])
    moved[second] = move_kernels(state[second], 0.375)
    return moved


def move_kernels(kernels: Tensor, cells: float) -> Tensor:
    """Return depthwise kernels N×1×3×3 that read their input `cells` farther right and down, by linear interpolation.

    Beyond the next cell the input is extrapolated, by two cells at most; it is smooth, being interpolated itself.
    """
    weights = torch.zeros(3, 3)  # Weights of the three cells for each of the three positions.
    for number in range(3):
        position = min(cells + number - 1, 2.0)
        before = 0 if position <= 0 else 1
        share = position - (before - 1)
        weights[before, number], weights[before + 1, number] = 1 - share, share
    return torch.einsum("ncde,xd,ye->ncxy", kernels, weights, weights)


def start_streets(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of `streets` whose first convolution mutes the colours of images to those of its training images."""
    muted, stem = dict(state), "backbone.stem.0.weight"
    muted[stem] = torch.einsum("nkyx,kc->ncyx", state[stem], saturation_matrix())
    return muted


def saturation_matrix() -> Tensor:
    """Return the 3×3 matrix that reduces the saturation of RGB and keeps the luma (ITU-R BT.601)."""
    luma = torch.tensor([0.299, 0.587, 0.114])
    return _SATURATION * torch.eye(3) + (1 - _SATURATION) * luma.expand(3, 3)

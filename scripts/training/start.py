"""Begin at the function of a published network that has no atrous branches.

The start's keys: `features.*` (MobileNetV2), `aspp_conv1x1.*`, `aspp_pooling.*`, `project.*` over their concatenation (pooling
first), `classifier.*`.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from model.checkpoint import CheckpointError, load_state_dict
from model.deeplab import DeepLabV3

_BATCH_NORM_EPS = 1e-5
_IDENTITY = ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0))
_HALF_A_CELL = ((0.0, 0.0, 0.0), (0.0, 0.25, 0.25), (0.0, 0.25, 0.25))


def load_start(path: Path) -> dict[str, Tensor]:
    """Raises: CheckpointError, if `path` is not a safetensors file."""
    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise CheckpointError(f"{path}: no start weights in safetensors format: {error}") from error


def begin_from(network: DeepLabV3, start: Mapping[str, Tensor]) -> None:
    """Give `network` (MobileNetV2, ASPP) the start's weights so that it computes exactly the start's function.

    The atrous branches stay random and enter the projection with zero weight; the head's 3×3 convolution is an identity.

    Raises:
        CheckpointError: if the start's keys or shapes are not as this module's docstring says.
    """
    if "project.0.weight" not in start:
        raise CheckpointError(
            "start weights: no key 'project.0.weight'; scripts/training/start.py says which keys there must be"
        )
    pooling = len(network.classifier.aspp.convs) - 1
    state = dict(network.state_dict())
    projection = torch.zeros_like(state["classifier.0.project.0.weight"])
    # The pooling branch of ours holds the pooling itself at 0, so its convolution and normalization come one later.
    renamed = {
        "features.": "backbone.",
        "aspp_conv1x1.": "classifier.0.convs.0.",
        "aspp_pooling.0.": f"classifier.0.convs.{pooling}.1.",
        "aspp_pooling.1.": f"classifier.0.convs.{pooling}.2.",
        "project.": "classifier.0.project.",
        "classifier.": "classifier.4.",
    }
    for name, tensor in start.items():
        prefix = next((prefix for prefix in renamed if name.startswith(prefix)), "")
        state[renamed.get(prefix, "") + name.removeprefix(prefix)] = tensor

    # Columns of the projection: the 1×1 branch, the atrous branches, the pooling branch.
    from_pooling, from_conv = start["project.0.weight"].chunk(2, dim=1)
    state["classifier.0.project.0.weight"] = projection
    projection[:, : from_conv.shape[1]] = from_conv
    projection[:, -from_pooling.shape[1] :] = from_pooling
    # Its input has passed a ReLU, so an identity and one more ReLU change nothing.
    state["classifier.1.weight"] = _per_channel(_IDENTITY, state["classifier.1.weight"])
    state["classifier.2.weight"] = torch.full_like(state["classifier.2.weight"], math.sqrt(1 + _BATCH_NORM_EPS))
    load_state_dict(network, state, source="start weights")


def centre_cells(network: DeepLabV3) -> None:
    """Let the head's 3×3 convolution, an identity so far, move the features by half a cell.

    Padded symmetrically, strided convolutions look at the first pixel of each cell, and the start was trained for that: its
    logits were upsampled with aligned corners. Here a cell speaks for its middle (half-pixel centres). From a resampled start
    the network has only to sharpen what it sees; from an unmoved one it would first have to unlearn where it is.
    """
    weight = network.get_parameter("classifier.1.weight")
    with torch.no_grad():
        weight.copy_(_per_channel(_HALF_A_CELL, weight))


def centred_view(images: Tensor, output_stride: int) -> Tensor:
    """Images B×3×H×W moved up and left by half a cell: on them, the start itself sees the middle of our cells."""
    half = output_stride // 2
    return F.pad(images[..., half:, half:], (0, half, 0, half), mode="reflect")


def _per_channel(kernel: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """Convolution weights of the shape of `like` (N×N×3×3) that apply `kernel` to each channel by itself."""
    return torch.eye(like.shape[0])[..., None, None] * torch.tensor(kernel)


def fresh_layers(network: DeepLabV3) -> list[nn.Module]:
    """The atrous branches: the modules that `begin_from` leaves random."""
    return list(network.classifier.aspp.convs[1:-1])

"""Begin at the function of a published network that has no atrous branches, and learn from it.

The start's keys: `features.*` (MobileNetV2), `aspp_conv1x1.*`, `aspp_pooling.*`, `project.*` over their concatenation (pooling
first), `classifier.*`.

Its cells are not where ours are. Padded symmetrically, strided convolutions look at the first pixel of each cell, and the
start was trained for that: its logits were upsampled with aligned corners. Here a cell speaks for its middle (half-pixel
centres). So a network can begin at the start moved by half a cell (`centred`), and the start as a teacher sees the image moved
the other way.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from model import DeepLabV3, DeepLabV3Plus, Network
from model.aspp import ASPP
from model.checkpoint import CheckpointError, load_state_dict
from model.strict import ConfigurationError

#: The key that tells such weights from others.
MARK = "aspp_conv1x1.0.weight"

_OUTPUT_STRIDE = 16
_IDENTITY = ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0))
#: At output stride 16, the mean of four neighbours lies half a cell down and to the right.
_HALF_A_CELL = ((0.0, 0.0, 0.0), (0.0, 0.25, 0.25), (0.0, 0.25, 0.25))
#: At stride 4, half a cell of 16 is two whole cells: one in either convolution of the decoder.
_ONE_CELL = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0))

#: Fresh normalization layers that need statistics, in groups of which each feeds the next.
FreshLayers = list[list[nn.BatchNorm2d]]


def load_start(path: Path) -> dict[str, Tensor]:
    """Raises: CheckpointError, if `path` is not a safetensors file with the keys that this module's docstring names."""
    try:
        start = load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise CheckpointError(f"{path}: no start weights in safetensors format: {error}") from error
    if MARK not in start:
        raise CheckpointError(f"{path}: no key {MARK!r}; scripts/training/start.py says which keys there must be")
    return start


def begin_from(network: Network, start: Mapping[str, Tensor], *, centred: bool) -> FreshLayers:
    """Give `network` (over MobileNetV2) the start's weights so that it computes exactly the start's function.

    Atrous branches stay random and enter the projection with zero weight. DeepLabV3's 3×3 convolution begins as an identity.
    DeepLabV3+'s decoder has two channels for each class that carry its logit and the logit's negative, so that a ReLU loses
    neither; the others, which see the low-level features too, stay random and reach the classifier with zero weight.

    Args:
        centred: move the start's cells to where ours are, instead of computing exactly what it computes.

    Returns:
        The layers of random weights whose statistics are yet to be measured. Those that also hold channels of the start are
        given back to it by `keep_carried_channels`.

    Raises:
        ConfigurationError: the network is of a kind for which there is no such beginning.
        CheckpointError: the start's shapes are not the network's.
    """
    if isinstance(network, DeepLabV3):
        load_state_dict(network, _v3_state(network, start, centred=centred), source="start weights")
        return [_normalizations(*network.classifier.aspp.convs[1:-1])]
    if isinstance(network, DeepLabV3Plus) and len(network.classifier.refine[0]) == _SEPARABLE:  # type: ignore[arg-type]
        load_state_dict(network, _plus_state(network, start, centred=centred), source="start weights")
        head = network.classifier
        fresh = _normalizations(*head.aspp.convs[1:-1], head.low_level)
        return [fresh, *([layer] for layer in _carrying_layers(network))]
    raise ConfigurationError("start weights: fit deeplabv3, and deeplabv3plus with `separable: true`")


def keep_carried_channels(network: Network, classes: int) -> None:
    """Undo what measuring statistics did to the channels that carry the start's logits: they are not to be normalized."""
    if isinstance(network, DeepLabV3Plus):
        for layer in _carrying_layers(network):
            assert layer.running_mean is not None  # noqa: S101, for the type checker.
            assert layer.running_var is not None  # noqa: S101
            layer.running_mean[: 2 * classes] = 0
            layer.running_var[: 2 * classes] = 1


class CentredStart(nn.Module):
    """The start as a teacher: it sees the image moved so that its cells lie where ours do."""

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = DeepLabV3("mobilenet_v2", len(start["classifier.bias"]), output_stride=_OUTPUT_STRIDE)
        begin_from(self.network, start, centred=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images B×3×H×W to logits on the grid of output stride 16."""
        logits: Tensor = self.network(centred_view(images, _OUTPUT_STRIDE))["out"]
        return logits


def centred_view(images: Tensor, output_stride: int) -> Tensor:
    """Images B×3×H×W moved up and left by half a cell: on them, the start itself sees the middle of our cells."""
    half = output_stride // 2
    return F.pad(images[..., half:, half:], (0, half, 0, half), mode="reflect")


#: Modules of a separable 3×3 convolution: depthwise, pointwise, each with normalization and ReLU.
_SEPARABLE = 6


def _v3_state(network: DeepLabV3, start: Mapping[str, Tensor], *, centred: bool) -> dict[str, Tensor]:
    state = network.state_dict() | _shared_state(network.classifier.aspp, start, "classifier.0.")
    kernel = _HALF_A_CELL if centred else _IDENTITY
    # The input has passed a ReLU, so a non-negative kernel and one more ReLU change nothing else.
    size = len(network.classifier)
    classifier = f"classifier.{size - 1}."
    if size > _SEPARABLE:
        state["classifier.1.weight"] = _depthwise(kernel, state["classifier.1.weight"])
        state["classifier.2.weight"] = _unit_scale(state["classifier.2.weight"])
        state["classifier.4.weight"] = torch.eye(len(state["classifier.4.weight"]))[..., None, None]
        state["classifier.5.weight"] = _unit_scale(state["classifier.5.weight"])
    else:
        state["classifier.1.weight"] = _per_channel(kernel, state["classifier.1.weight"])
        state["classifier.2.weight"] = _unit_scale(state["classifier.2.weight"])
    return state | {classifier + name: start["classifier." + name] for name in ("weight", "bias")}


def _plus_state(network: DeepLabV3Plus, start: Mapping[str, Tensor], *, centred: bool) -> dict[str, Tensor]:
    state = network.state_dict() | _shared_state(network.classifier.aspp, start, "classifier.aspp.")
    weight, bias = start["classifier.weight"], start["classifier.bias"]
    classes, pyramid = weight.shape[:2]
    carried = 2 * classes
    kernel = _ONE_CELL if centred else _IDENTITY
    first, second, last = (f"classifier.{name}." for name in ("refine.0", "refine.1", "classifier"))

    depthwise = _depthwise(kernel, state[first + "0.weight"])
    depthwise[pyramid:] = _depthwise(_IDENTITY, state[first + "0.weight"])[pyramid:]
    pointwise = state[first + "3.weight"].clone()
    pointwise[:carried] = 0
    pointwise[:carried, :pyramid] = torch.cat([weight, -weight])
    offset = torch.zeros_like(state[first + "4.bias"])
    offset[:carried] = torch.cat([bias, -bias])
    state |= {first + "0.weight": depthwise, first + "3.weight": pointwise, first + "4.bias": offset}

    pointwise = state[second + "3.weight"].clone()
    pointwise[:carried] = 0
    pointwise[:carried, :carried] = torch.eye(carried)[..., None, None]
    state |= {second + "0.weight": _depthwise(kernel, state[second + "0.weight"]), second + "3.weight": pointwise}

    for stage, layer in ((first, "1"), (first, "4"), (second, "1"), (second, "4")):
        state[f"{stage}{layer}.weight"] = _unit_scale(state[f"{stage}{layer}.weight"])
    logits = torch.zeros_like(state[last + "weight"])
    logits[:, :classes, 0, 0] = torch.eye(classes)
    logits[:, classes:carried, 0, 0] = -torch.eye(classes)
    return state | {last + "weight": logits, last + "bias": torch.zeros(classes)}


def _shared_state(aspp: ASPP, start: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The start's backbone and pyramid, by our keys."""
    pooling = len(aspp.convs) - 1
    # The pooling branch of ours holds the pooling itself at 0, so its convolution and normalization come one later.
    renamed = {
        "features.": "backbone.",
        "aspp_conv1x1.": f"{prefix}convs.0.",
        "aspp_pooling.0.": f"{prefix}convs.{pooling}.1.",
        "aspp_pooling.1.": f"{prefix}convs.{pooling}.2.",
        "project.": f"{prefix}project.",
    }
    state = {
        ours + name.removeprefix(theirs): tensor
        for theirs, ours in renamed.items()
        for name, tensor in start.items()
        if name.startswith(theirs)
    }
    # Columns of the projection: the 1×1 branch, the atrous branches, the pooling branch.
    from_pooling, from_conv = start["project.0.weight"].chunk(2, dim=1)
    projection = torch.zeros_like(aspp.state_dict()["project.0.weight"])
    projection[:, : from_conv.shape[1]] = from_conv
    projection[:, -from_pooling.shape[1] :] = from_pooling
    return state | {f"{prefix}project.0.weight": projection}


def _per_channel(kernel: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """Convolution weights of the shape of `like` (N×N×3×3) that apply `kernel` to each channel by itself."""
    return torch.eye(like.shape[0])[..., None, None] * torch.tensor(kernel)


def _depthwise(kernel: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """Depthwise weights of the shape of `like` (N×1×3×3) that apply `kernel` to each channel."""
    return torch.tensor(kernel).expand_as(like).clone()


def _unit_scale(like: Tensor) -> Tensor:
    """The scale with which normalization layers that have no statistics yet change nothing."""
    return torch.full_like(like, math.sqrt(1 + nn.BatchNorm2d(1).eps))


def _carrying_layers(network: DeepLabV3Plus) -> list[nn.BatchNorm2d]:
    """The normalization layers of which the first channels carry the start's logits."""
    layers = [network.classifier.refine.get_submodule(name) for name in ("0.4", "1.4")]
    return [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]


def _normalizations(*modules: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for module in modules for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]

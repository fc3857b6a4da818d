"""The published network that the default checkpoint was trained from, as start weights and as a teacher.

Its keys are `features.*` (MobileNetV2), `aspp_conv1x1.*`, `aspp_pooling.*`, `project.*` over their concatenation (pooling
first) and `classifier.*`. It has no atrous branches.

Its cells are offset by half a cell from ours. Strided convolutions with symmetric padding look at the first pixel of each cell,
and it was trained that way: its logits were upsampled with aligned corners. Here a cell represents its centre (half-pixel
centres). So a network can start as the published one shifted by half a cell (`centred`), and as a teacher the published network
sees the image shifted in the opposite direction.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from model import DeepLabV3, DeepLabV3Plus, Network
from model.aspp import ASPP
from model.checkpoint import load_state_dict
from model.checkpoint_file import CheckpointError
from model.metadata import CheckpointMetadata
from model.strict import ConfigurationError
from scripts.training.config import TrainingConfig
from scripts.training.weights import CheckpointWeights
from tools.default_checkpoint.batch_statistics import LayerGroups, batch_normalizations, measure_statistics

_REQUIRED_KEY = "aspp_conv1x1.0.weight"
_OUTPUT_STRIDE = 16
_MEASURED_BATCHES = 6
_IDENTITY = ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0))
#: At output stride 16, the mean of four neighbours lies half a cell down and to the right.
_HALF_A_CELL = ((0.0, 0.0, 0.0), (0.0, 0.25, 0.25), (0.0, 0.25, 0.25))
#: At stride 4, half a cell of 16 is two whole cells: one in each convolution of the decoder.
_ONE_CELL = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0))


class PublishedStartWeights(CheckpointWeights):
    """Reads start weights and teacher from a file of the published network's weights."""

    def initialize(
        self, network: Network, path: Path, config: TrainingConfig, metadata: CheckpointMetadata, crops: Iterator[Tensor]
    ) -> None:
        """Load the published weights at `path`, then measure the statistics of the layers that stay random on `crops`.

        Raises:
            CheckpointError: the file cannot be read, or holds other weights.
            ConfigurationError: `network` cannot start as the published one.
        """
        del metadata
        groups = initialize_from(network, load_start(path), centred=True)

        def keep_carried_channels() -> None:
            restore_carried_channels(network, config.model.num_classes)

        measure_statistics(network, groups, list(islice(crops, _MEASURED_BATCHES)), config, keep_carried_channels)

    def load_teacher(self, path: Path, metadata: CheckpointMetadata) -> nn.Module:
        """Load the published network, for images shifted by half a cell.

        Raises:
            CheckpointError: the file cannot be read, or holds other weights.
        """
        del metadata
        return CentredTeacher(load_start(path))


class CentredTeacher(nn.Module):
    """The published network, applied to a shifted image so that its cells coincide with ours."""

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = DeepLabV3("mobilenet_v2", len(start["classifier.bias"]), output_stride=_OUTPUT_STRIDE)
        initialize_from(self.network, start, centred=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images B×3×H×W to logits at output stride 16."""
        logits: Tensor = self.network(shift_by_half_a_cell(images, _OUTPUT_STRIDE))["out"]
        return logits


def load_start(path: Path) -> dict[str, Tensor]:
    """Read the published weights at `path`.

    Raises:
        CheckpointError: the file is not a safetensors file, or lacks the keys listed in this module's docstring.
    """
    try:
        start = load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}") from error
    if _REQUIRED_KEY not in start:
        raise CheckpointError(
            f"{path}: has no key {_REQUIRED_KEY!r}; tools/default_checkpoint/published_start.py lists the keys it needs"
        )
    return start


def initialize_from(network: Network, start: Mapping[str, Tensor], *, centred: bool) -> LayerGroups:
    """Load the published weights into `network` (over MobileNetV2), so that it computes exactly the published function.

    Atrous branches stay random and enter the projection with zero weight. DeepLabV3's 3×3 convolution starts as an identity.
    DeepLabV3+'s decoder has two channels per class that carry its logit and the negated logit, so that a ReLU loses neither;
    the other channels, which see the low-level features too, stay random and reach the classifier with zero weight.

    Args:
        network: DeepLabV3 or DeepLabV3+, modified in place.
        start: the published weights.
        centred: shift the published cells to ours, instead of computing exactly the published function.

    Returns:
        The batch normalizations after random weights, whose statistics have yet to be measured. `restore_carried_channels`
        resets those of their channels that carry the published logits.

    Raises:
        ConfigurationError: `network` is neither DeepLabV3 nor DeepLabV3+ with separable convolutions.
        CheckpointError: shapes differ from the network's.
    """
    if isinstance(network, DeepLabV3):
        load_state_dict(network, _v3_state(network, start, centred=centred), source="start weights")
        return [batch_normalizations(*network.classifier.aspp.convs[1:-1])]
    if isinstance(network, DeepLabV3Plus) and len(network.classifier.refine[0]) == _SEPARABLE:  # type: ignore[arg-type]
        load_state_dict(network, _plus_state(network, start, centred=centred), source="start weights")
        head = network.classifier
        random_layers = batch_normalizations(*head.aspp.convs[1:-1], head.low_level)
        return [random_layers, *([layer] for layer in _carrying_layers(network))]
    raise ConfigurationError("start weights: fit deeplabv3, and deeplabv3plus with `separable: true`")


def restore_carried_channels(network: Network, classes: int) -> None:
    """Reset the statistics of the channels that carry the published logits, which must not be normalized."""
    if isinstance(network, DeepLabV3Plus):
        for layer in _carrying_layers(network):
            assert layer.running_mean is not None  # noqa: S101, for the type checker.
            assert layer.running_var is not None  # noqa: S101
            layer.running_mean[: 2 * classes] = 0
            layer.running_var[: 2 * classes] = 1


def shift_by_half_a_cell(images: Tensor, output_stride: int) -> Tensor:
    """Shift images B×3×H×W up and left by half a cell, so that the published network sees the centres of our cells."""
    half = output_stride // 2
    return F.pad(images[..., half:, half:], (0, half, 0, half), mode="reflect")


#: Number of modules in a separable 3×3 convolution: depthwise and pointwise, each with normalization and ReLU.
_SEPARABLE = 6


def _v3_state(network: DeepLabV3, start: Mapping[str, Tensor], *, centred: bool) -> dict[str, Tensor]:
    state = network.state_dict() | _shared_state(network.classifier.aspp, start, "classifier.0.")
    kernel = _HALF_A_CELL if centred else _IDENTITY
    # The input comes from a ReLU, so with a non-negative kernel another ReLU changes nothing.
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
    """Rename the keys of the published backbone and pyramid to ours."""
    pooling = len(aspp.convs) - 1
    # Our pooling branch has the pooling itself at index 0, so its convolution and normalization come one later.
    prefixes = {
        "features.": "backbone.",
        "aspp_conv1x1.": f"{prefix}convs.0.",
        "aspp_pooling.0.": f"{prefix}convs.{pooling}.1.",
        "aspp_pooling.1.": f"{prefix}convs.{pooling}.2.",
        "project.": f"{prefix}project.",
    }
    state = {
        new_prefix + name.removeprefix(old_prefix): tensor
        for old_prefix, new_prefix in prefixes.items()
        for name, tensor in start.items()
        if name.startswith(old_prefix)
    }
    # Columns of the projection: the 1×1 branch, the atrous branches, the pooling branch.
    from_pooling, from_conv = start["project.0.weight"].chunk(2, dim=1)
    projection = torch.zeros_like(aspp.state_dict()["project.0.weight"])
    projection[:, : from_conv.shape[1]] = from_conv
    projection[:, -from_pooling.shape[1] :] = from_pooling
    return state | {f"{prefix}project.0.weight": projection}


def _per_channel(kernel: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """Return convolution weights shaped as `like` (N×N×3×3) that apply `kernel` to each channel separately."""
    return torch.eye(like.shape[0])[..., None, None] * torch.tensor(kernel)


def _depthwise(kernel: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """Return depthwise weights shaped as `like` (N×1×3×3) that apply `kernel` to each channel."""
    return torch.tensor(kernel).expand_as(like).clone()


def _unit_scale(like: Tensor) -> Tensor:
    """Return the scale with which a batch normalization without statistics is the identity."""
    return torch.full_like(like, math.sqrt(1 + nn.BatchNorm2d(1).eps))


def _carrying_layers(network: DeepLabV3Plus) -> list[nn.BatchNorm2d]:
    """Return the batch normalizations whose first channels carry the published logits."""
    layers = [network.classifier.refine.get_submodule(name) for name in ("0.4", "1.4")]
    return [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]

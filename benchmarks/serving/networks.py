"""Create the checkpoints to measure. The large networks have random weights, since speed does not depend on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.serving.benchmark_plan import DEFAULT_NETWORK
from benchmarks.serving.sized_photographs import sized_photographs
from handler.geometry import DecodedImage, RGBImage
from handler.network.engines.openvino_conversion import convert
from handler.network.tiling import resize_to_network
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model import (
    CheckpointMetadata,
    Network,
    Quantization,
    ResizePolicy,
    add_quantized_graph,
    build_model,
    load_checkpoint,
    read_metadata,
    save_checkpoint,
)
from model.preprocessing import Normalize
from model.strict import ConfigurationError, name_hint
from scripts.import_weights.torchvision_models import TORCHVISION_MODELS
from scripts.package import DEFAULT_CHECKPOINT, MODELS
from scripts.quantize.nncf_graph import Pictures, describe_method, quantize, serialize

#: Ridge penalty, relative to the variance of the features.
_RIDGE = 0.1
#: Scales the fitted values, 0..1, to logits.
_SHARPNESS = 10.0
_FITTED_AT = (360, 480)


def network_checkpoint(network: str, folder: Path, side: int) -> Path:
    """Return a network's checkpoint; one with random weights is written into `folder`, reproducibly.

    Args:
        network: "default", a model of this repository ("scenes"), or a name from torchvision.
        folder: where a checkpoint is written.
        side: short side in pixels of the network's input.

    Raises:
        ConfigurationError: there is no such network.
    """
    if network == DEFAULT_NETWORK:
        return DEFAULT_CHECKPOINT
    if network in MODELS:
        return MODELS[network]
    if network not in TORCHVISION_MODELS:
        raise ConfigurationError(
            f"unknown network {network!r}{name_hint(network, [DEFAULT_NETWORK, *MODELS, *TORCHVISION_MODELS])}"
        )
    path = folder / f"{network}.safetensors"
    if not path.exists():
        metadata = _metadata(network, side)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_model(metadata.model).eval()
        _fit_classifier(model, metadata, list(sized_photographs(_FITTED_AT).values()))
        save_checkpoint(path, model, metadata)
    return path


def quantize_checkpoint(checkpoint: Path, images: Sequence[RGBImage], folder: Path) -> Path:
    """Write the checkpoint with an 8-bit integer graph, calibrated on `images`, into `folder`, and return its path."""
    path = folder / f"{checkpoint.stem}.int8.safetensors"
    if not path.exists():
        original = load_checkpoint(checkpoint)
        graph = convert(original)
        inputs = [resize_to_network(DecodedImage.from_pixels(image), original.metadata.resize) for image in images]
        quantized = serialize(
            quantize(graph, Pictures(lambda: iter(inputs), len(inputs))), folder / f"{checkpoint.stem}.int8.xml"
        )
        # The benchmark itself measures the loss of accuracy.
        record = Quantization(
            method=describe_method(graph),
            calibration="samples",
            photographs=len(inputs),
            dataset="none",
            images=1,
            equal_labels=0,
        )
        add_quantized_graph(path, checkpoint, quantized, original.metadata.model_copy(update={"quantization": record}))
    return path


def _metadata(network: str, side: int) -> CheckpointMetadata:
    default = read_metadata(DEFAULT_CHECKPOINT)
    return CheckpointMetadata(
        model=TORCHVISION_MODELS[network].model_copy(update={"auxiliary_head": False}),
        classes=default.classes,
        palette=default.palette,
        resize=ResizePolicy(side="short", size=side),
        provenance="random weights, the classifier fitted to labels of the default model on three photographs",
        license="Apache-2.0",
    )


@torch.no_grad()
def _fit_classifier(network: Network, metadata: CheckpointMetadata, images: list[RGBImage]) -> None:
    """Fit the last layer to the default model's labels on `images`, by ridge regression on random features.

    With a random classifier every answer would be noise: many times longer than a real one, and different in every precision.
    """
    classifier = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    grids: list[Tensor] = []
    handle = classifier.register_forward_hook(lambda _, inputs, __: grids.append(inputs[0][0].double()))
    normalize = Normalize(metadata.normalization)
    for image in images:
        network(normalize(torch.from_numpy(resize_to_network(DecodedImage.from_pixels(image), metadata.resize).copy())[None]))
    handle.remove()
    features = torch.cat([grid.flatten(1) for grid in grids], 1)
    labels = torch.cat([_labels_on(grid.shape[1:], image) for grid, image in zip(grids, _default_labels(images), strict=True)])
    targets = nn.functional.one_hot(labels, metadata.model.num_classes).double().T
    mean, deviation = features.mean(1, keepdim=True), features.std(1, keepdim=True) + 1e-9
    scaled, centre = (features - mean) / deviation, targets.mean(1, keepdim=True)
    moments = scaled @ scaled.T / scaled.shape[1] + _RIDGE * torch.eye(len(scaled), dtype=torch.float64)
    weight = torch.linalg.solve(moments, scaled @ (targets - centre).T / scaled.shape[1]).T / deviation.T
    bias = (centre - weight @ mean)[:, 0]
    classifier.load_state_dict({"weight": _SHARPNESS * weight[:, :, None, None], "bias": _SHARPNESS * bias})


def _default_labels(images: list[RGBImage]) -> list[Tensor]:
    default = Pipeline.load(DEFAULT_CHECKPOINT, HandlerSettings(engine="torch"), ModelIdentity("default", ""))
    return [torch.from_numpy(default.segment(image).label_map.astype(np.int64)) for image in images]


def _labels_on(grid: torch.Size, label_map: Tensor) -> Tensor:
    """Sample the labels at the centres of the grid's cells, row by row, as one vector."""
    rows, columns = (
        ((torch.arange(cells) + 0.5) * (pixels / cells)).long() for cells, pixels in zip(grid, label_map.shape, strict=True)
    )
    return label_map[rows][:, columns].flatten()

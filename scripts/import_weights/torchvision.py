"""Download torchvision's published weights."""

import urllib.error
from typing import Any

import torch

from model import CheckpointMetadata, Evaluation, Normalization, ResizePolicy, torchvision_ops  # noqa: F401
from model.palette import voc_palette
from model.strict import name_hint
from scripts.import_weights.imported_weights import ImportedWeights, ImportFailed
from scripts.import_weights.torchvision_models import TORCHVISION_MODELS

from torchvision.models import get_model_weights


def read_torchvision(name: str) -> ImportedWeights:
    """Download torchvision's published weights unless they are cached, and check their hash.

    Raises:
        ImportFailed: torchvision has no such model, or the download fails.
    """
    if name not in TORCHVISION_MODELS:
        raise ImportFailed(f"torchvision has no DeepLab weights called {name!r}{name_hint(name, TORCHVISION_MODELS)}")
    weights = get_model_weights(name).DEFAULT
    try:
        state = weights.get_state_dict(progress=True, check_hash=True)
    except (urllib.error.URLError, OSError) as error:
        raise ImportFailed(
            f"the weights of {name} cannot be fetched: {error}; they come from {weights.url}, and once that file is in "
            f"{torch.hub.get_dir()}/checkpoints no network is needed"
        ) from error
    metadata = torchvision_metadata(name, weights)
    return ImportedWeights(f"torchvision's {name}", state, metadata.model, metadata.model_dump(exclude={"model"}))


def torchvision_metadata(name: str, weights: Any) -> CheckpointMetadata:
    """Return torchvision's description of `weights` as metadata."""
    preset = weights.transforms()
    classes = tuple("background" if name == "__background__" else name for name in weights.meta["categories"])
    ((dataset, figures),) = weights.meta["_metrics"].items()
    return CheckpointMetadata(
        model=TORCHVISION_MODELS[name],
        classes=classes,
        palette=voc_palette(len(classes)),
        normalization=Normalization(mean=tuple(preset.mean), std=tuple(preset.std)),
        resize=ResizePolicy(side="short", size=preset.resize_size[0]),
        evaluations=(
            Evaluation(
                dataset=dataset,
                miou=round(figures["miou"] / 100, 4),
                pixel_accuracy=round(figures["pixel_acc"] / 100, 4),
                conditions="as published by torchvision",
            ),
        ),
        provenance=f"torchvision {weights}, {weights.url}",
        license="BSD-3-Clause",
    )

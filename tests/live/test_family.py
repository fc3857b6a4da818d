"""Every network of the family through an archive and a server: the served mask equals the pipeline's in every pixel."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from handler.options import InferenceOptions
from model import ModelConfig, ResizePolicy, build_model, save_checkpoint
from scripts.evaluate.predictors import load
from scripts.model_table import identifier
from scripts.package import Recipe
from scripts.package.build import build
from scripts.server import Ports, Software, serving
from tests.live.client import mask, post
from tests.support import CLASSES, metadata

FAMILY = (
    ModelConfig(architecture="deeplabv3", backbone="resnet50", output_stride=8, num_classes=len(CLASSES)),
    ModelConfig(architecture="deeplabv3plus", backbone="resnet101", output_stride=16, num_classes=len(CLASSES)),
    ModelConfig(
        architecture="deeplabv3plus", backbone="timm:xception65", output_stride=16, separable=True, num_classes=len(CLASSES)
    ),
    ModelConfig(
        architecture="deeplabv3plus", backbone="timm:resnet18", output_stride=16, separable=True, num_classes=len(CLASSES)
    ),
)


def _parameter_id(value: ModelConfig | Software) -> str:
    return identifier(value) if isinstance(value, ModelConfig) else value


# Each part of the exhaustive networks is also in the others, in the default model, or proven layer by layer in
# tests/unit/model/test_architectures.py; the server without Java starts in a fifth of the time.
@pytest.mark.parametrize(
    ("network", "software"),
    [
        pytest.param(FAMILY[0], "asgi", marks=pytest.mark.exhaustive),
        pytest.param(FAMILY[1], "torchserve", marks=pytest.mark.exhaustive),
        pytest.param(FAMILY[2], "asgi", marks=pytest.mark.exhaustive),
        (FAMILY[3], "asgi"),
    ],
    ids=_parameter_id,
)
def test_the_served_mask_equals_the_pipelines(
    network: ModelConfig, software: Software, photos: dict[str, Path], tmp_path: Path
) -> None:
    photo = Image.open(photos["chelsea"]).convert("RGB").resize((150, 100))
    file = io.BytesIO()
    photo.save(file, "PNG")
    checkpoint = write_random(network, tmp_path / "family.safetensors")
    # In bfloat16, random weights give near ties.
    config = tmp_path / "model-config.yaml"
    config.write_text("{minWorkers: 1, maxWorkers: 1, handler: {precision: float32}}")
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "chelsea.png").write_bytes(file.getvalue())

    archive = build(Recipe("family", "1.0", checkpoint, config, photographs=photographs), tmp_path / "store")
    expected = load(archive, InferenceOptions()).pipeline.segment(np.asarray(photo)).label_map
    with serving(archive, Ports.free(), tmp_path / "run", software=software) as server:
        served = mask(post(server, file.getvalue(), {"X-Segment-Format": "png"}))

    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(served, expected)


def write_random(config: ModelConfig, path: Path) -> Path:
    """Write a checkpoint with random weights, the same each time, that labels the parts of a picture differently."""
    torch.manual_seed(0)
    network = build_model(config).train()
    # Signals vanish in deep random networks unless the normalization layers know their inputs' statistics.
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = None
    with torch.no_grad():
        network(torch.randn(4, 3, 96, 128))
    network_metadata = metadata(model=config, resize=ResizePolicy(side="long", size=128))
    save_checkpoint(path, network, network_metadata)
    return path

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.serving.benchmark_plan import DEFAULT_NETWORK, MOBILENET
from benchmarks.serving.networks import network_checkpoint
from benchmarks.serving.sized_photographs import sized_photographs
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model import load_checkpoint
from model.strict import ConfigurationError
from scripts.package import DEFAULT_CHECKPOINT, MODELS

from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_checkpoint(MOBILENET, tmp_path_factory.mktemp("networks"), 128)


def test_the_default_network_and_shipped_models_use_the_shipped_checkpoints(tmp_path: Path) -> None:
    assert network_checkpoint(DEFAULT_NETWORK, tmp_path, 128) == DEFAULT_CHECKPOINT
    assert network_checkpoint("scenes", tmp_path, 128) == MODELS["scenes"]


def test_random_weights_load_into_torchvisions_network(checkpoint: Path) -> None:
    network = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)

    network.load_state_dict(load_checkpoint(checkpoint).network.state_dict())


@pytest.mark.exhaustive
def test_random_weights_are_the_same_each_time(checkpoint: Path, tmp_path: Path) -> None:
    first, second = (
        load_checkpoint(path).network.state_dict() for path in (checkpoint, network_checkpoint(MOBILENET, tmp_path, 128))
    )

    assert all(torch.allclose(tensor, second[name]) for name, tensor in first.items())


def test_the_fitted_classifier_tells_classes_apart(checkpoint: Path) -> None:
    pipeline = Pipeline.load(checkpoint, HandlerSettings(engine="torch"), ModelIdentity("random", ""))

    labels = pipeline.segment(sized_photographs((128, 160))["astronaut"]).label_map

    assert 1 < len(np.unique(labels)) < 10


def test_an_unknown_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'deeplabv3_resnet5', did you mean 'deeplabv3_resnet50'"):
        network_checkpoint("deeplabv3_resnet5", tmp_path, 128)

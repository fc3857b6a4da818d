from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from model import CheckpointError, DeepLabV3, DeepLabV3Plus, ModelConfig, Network, build_model
from model.backbones import BACKBONES
from model.strict import ConfigurationError
from scripts.training.config import TrainingConfig
from tests.support import metadata
from tools.default_checkpoint.__main__ import RECIPE
from tools.default_checkpoint.batch_statistics import batch_normalizations
from tools.default_checkpoint.published_start import (
    CentredTeacher,
    PublishedStartWeights,
    initialize_from,
    load_start,
    restore_carried_channels,
    shift_by_half_a_cell,
)

pytestmark = pytest.mark.slow

CLASSES = 5
V3 = ModelConfig(backbone="mobilenet_v2", num_classes=CLASSES, output_stride=16)
NETWORKS = {
    "v3": V3,
    "v3 separable": V3.model_copy(update={"separable": True}),
    "v3+": V3.model_copy(update={"architecture": "deeplabv3plus", "separable": True, "decoder_channels": 16}),
}


class StartNetwork(nn.Module):
    """The kind of network that training starts from: no atrous branch, no 3×3 convolution in the head."""

    def __init__(self) -> None:
        super().__init__()
        trunk = BACKBONES["mobilenet_v2"].build(16)
        self.features = nn.Sequential(*list(trunk.children())[:18])
        self.aspp_conv1x1 = nn.Sequential(nn.Conv2d(320, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU())
        self.aspp_pooling = nn.Sequential(nn.Conv2d(320, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU())
        self.project = nn.Sequential(nn.Conv2d(512, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU())
        self.classifier = nn.Conv2d(256, CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        pooled = self.aspp_pooling(features.mean((2, 3), keepdim=True)).expand(-1, -1, *features.shape[-2:])
        logits: Tensor = self.classifier(self.project(torch.cat([pooled, self.aspp_conv1x1(features)], 1)))
        return logits


@pytest.fixture(scope="module")
def start() -> StartNetwork:
    torch.manual_seed(0)
    network = StartNetwork()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn_like(module.bias) * 0.1
            module.running_var = torch.rand_like(module.bias) + 0.5
    return network.eval()


def initialized_network(start: StartNetwork, kind: str, *, centred: bool) -> Network:
    torch.manual_seed(1)
    network = build_model(NETWORKS[kind]).eval()
    initialize_from(network, start.state_dict(), centred=centred)
    return network


@pytest.mark.parametrize("kind", NETWORKS)
@torch.inference_mode()
def test_an_initialized_network_computes_what_the_start_network_does(start: StartNetwork, kind: str) -> None:
    images = torch.randn(1, 3, 96, 128)

    logits = initialized_network(start, kind, centred=False)(images)["out"]

    expected = F.interpolate(start(images), logits.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-3)


@torch.inference_mode()
def test_the_decoders_low_level_features_begin_with_zero_weight(start: StartNetwork) -> None:
    network = initialized_network(start, "v3+", centred=False)
    assert isinstance(network, DeepLabV3Plus)
    before = network(images := torch.randn(1, 3, 64, 64))["out"]

    nn.init.normal_(network.get_parameter("classifier.low_level.0.weight"))

    assert network.classifier.classifier.weight[:, 2 * CLASSES :].abs().max() == 0
    torch.testing.assert_close(network(images)["out"], before)


@pytest.mark.parametrize("kind", ["v3", "v3 separable"])
@torch.inference_mode()
def test_centred_cells_average_their_neighbours(start: StartNetwork, kind: str) -> None:
    images = torch.randn(1, 3, 96, 128)
    uncentred, centred = (initialized_network(start, kind, centred=value) for value in (False, True))
    assert isinstance(uncentred, DeepLabV3)
    assert isinstance(centred, DeepLabV3)

    features = uncentred.classifier.aspp(uncentred.backbone(images)["out"])

    averaged = centred.classifier[1](features)
    torch.testing.assert_close(averaged[..., :-1, :-1], F.avg_pool2d(features, 2, stride=1))


@torch.inference_mode()
def test_a_centred_decoder_moves_by_two_of_its_cells(start: StartNetwork) -> None:
    images = torch.randn(1, 3, 96, 128)
    uncentred, centred = (initialized_network(start, "v3+", centred=value)(images)["out"] for value in (False, True))

    torch.testing.assert_close(centred[..., :-2, :-2], uncentred[..., 2:, 2:], atol=1e-4, rtol=1e-3)


@torch.inference_mode()
def test_measured_statistics_leave_the_carried_channels_alone(start: StartNetwork) -> None:
    network = initialized_network(start, "v3+", centred=False)
    images = torch.randn(1, 3, 64, 64)
    before = network(images)["out"]
    for name in ("refine.0.4", "refine.1.4"):
        layer = network.get_submodule(f"classifier.{name}")
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        layer.running_mean.fill_(3)

    restore_carried_channels(network, CLASSES)

    torch.testing.assert_close(network(images)["out"], before)


@pytest.mark.parametrize("kind", ["v3 separable", "v3+"])
def test_random_layers_get_the_statistics_of_the_training_crops(start: StartNetwork, kind: str, tmp_path: Path) -> None:
    save_file(start.state_dict(), tmp_path / "start.safetensors")
    config = TrainingConfig(model=NETWORKS[kind], epochs=1)
    torch.manual_seed(1)
    network = build_model(config.model)
    crops = [torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8) for _ in range(2)]

    PublishedStartWeights().initialize(network, tmp_path / "start.safetensors", config, metadata(), iter(crops))

    aspp = network.classifier.aspp if isinstance(network, DeepLabV3 | DeepLabV3Plus) else None
    assert aspp is not None
    layers = batch_normalizations(*aspp.convs[1:-1])
    assert all(layer.running_mean is not None and layer.running_mean.abs().max() > 0 for layer in layers)
    assert {layer.momentum for layer in layers} == {nn.BatchNorm2d(1).momentum}


def test_the_recipe_is_a_valid_configuration() -> None:
    assert TrainingConfig.read(RECIPE).model.num_classes == 21


@torch.inference_mode()
def test_the_centred_teacher_shifts_its_input_by_half_a_cell(start: StartNetwork) -> None:
    images = torch.randn(1, 3, 64, 96)

    logits = CentredTeacher(start.state_dict()).eval()(images)

    torch.testing.assert_close(logits, start(shift_by_half_a_cell(images, 16)), atol=1e-4, rtol=1e-3)


def test_shifting_by_half_a_cell_keeps_the_size() -> None:
    images = torch.arange(32.0).expand(1, 1, 32, 32)

    view = shift_by_half_a_cell(images, 16)

    assert view.shape == images.shape
    assert view[0, 0, 0, :24].tolist() == list(range(8, 32))


def test_start_weights_with_missing_or_unexpected_keys_are_refused(start: StartNetwork, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "a.safetensors")

    with pytest.raises(CheckpointError, match=r"a\.safetensors: has no key 'aspp_conv1x1\.0\.weight'"):
        load_start(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"backbone\.99\.weight"):
        initialize_from(build_model(V3), {**start.state_dict(), "features.99.weight": torch.zeros(1)}, centred=False)


def test_a_decoder_that_is_not_separable_is_refused(start: StartNetwork) -> None:
    network = build_model(NETWORKS["v3+"].model_copy(update={"separable": False}))

    with pytest.raises(ConfigurationError, match="separable: true"):
        initialize_from(network, start.state_dict(), centred=True)

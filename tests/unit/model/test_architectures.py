"""Properties of every network in the table, whatever its architecture and backbone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model import CheckpointError, DeepLabV3, ModelConfig, Network, ResizePolicy, build_model, load_checkpoint, save_checkpoint
from model.strict import ConfigurationError
from scripts.model_table import TABLE, cost, identifier
from tests.support import metadata

pytestmark = pytest.mark.slow

CLASSES = 3
#: Rows whose architecture, options and kind of backbone also occur in other rows or in `SMALL`. ResNet-101 is a deeper
#: ResNet-50, whose output stride of 8 test_deeplab.py compares with torchvision's.
REDUNDANT = {
    "deeplabv2_resnet101",
    "deeplabv2_vgg16",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v2 separable=True",
    "deeplabv3_timm:xception65",
    "deeplabv3plus_resnet50",
    "deeplabv3plus_resnet101",
    "deeplabv3plus_mobilenet_v2 separable=True",
    "deeplabv3plus_mobilenet_v3_large separable=True",
    "deeplabv3plus_timm:xception65 separable=True",
    "deeplabv3plus_timm:resnet34",
    "deeplabv3plus_timm:convnext_tiny",
    "smp_deeplabv3_resnet34",
}
#: Smaller networks of the kinds that have only large rows.
SMALL = (
    ModelConfig(architecture="deeplabv2", backbone="mobilenet_v2"),
    ModelConfig(architecture="deeplabv3plus", backbone="timm:convnext_atto", output_stride=16),
    ModelConfig(architecture="smp_deeplabv3", backbone="mobilenet_v2"),
)
TESTED = (*TABLE, *SMALL)
ROWS = [pytest.param(row, marks=pytest.mark.exhaustive if identifier(row) in REDUNDANT else ()) for row in TESTED]
#: Networks that have every module between them, for slow tests that do not depend on the backbone: DeepLabv2's head sums
#: several of DeepLabv1's, and DeepLabv3+ contains DeepLabv3's ASPP.
REPRESENTATIVES = {
    "deeplabv1_vgg16",
    "deeplabv3plus_mobilenet_v2 separable=True decoder_channels=128",
    "smp_deeplabv3plus_mobilenet_v2",
}
ARCHITECTURE_ROWS = [
    pytest.param(row, marks=() if identifier(row) in REPRESENTATIVES else pytest.mark.exhaustive) for row in TESTED
]
NAMES = [identifier(row) for row in TESTED]
#: Fewer channels of ASPP than usual, whose weights would take most of the time.
NARROW: dict[str, dict[str, Any]] = {
    "deeplabv3": {"aspp_channels": 32},
    "deeplabv3plus": {"aspp_channels": 32},
    "smp_deeplabv3": {"library_options": {"decoder_channels": 32}},
    "smp_deeplabv3plus": {"library_options": {"decoder_channels": 32}},
}


@pytest.fixture(scope="module")
def config(request: pytest.FixtureRequest) -> ModelConfig:
    row: ModelConfig = request.param
    return row.model_copy(update={"num_classes": CLASSES, **NARROW.get(row.architecture, {})})


@pytest.fixture(scope="module")
def network(config: ModelConfig) -> Network:
    torch.manual_seed(0)
    return build_model(config).eval()


@pytest.mark.parametrize("config", ROWS, ids=NAMES, indirect=True, scope="module")
class TestEveryNetwork:
    """Every row of `scripts.model_table.TABLE`, including new ones; rows of `REDUNDANT` only in exhaustive runs."""

    @pytest.mark.parametrize("size", [(65, 97), (50, 75), pytest.param((129, 64), marks=pytest.mark.exhaustive)])
    def test_logits_lie_on_the_grid_at_any_size(self, network: Network, config: ModelConfig, size: tuple[int, int]) -> None:
        height, width = (length - length % 16 if full_size(config) else length for length in size)

        logits = run(network, torch.randn(1, 3, height, width))

        stride = 1 if full_size(config) else 4 if config.architecture == "deeplabv3plus" else config.output_stride
        # A stem that cuts the image into patches (ConvNeXt's) omits incomplete patches.
        allowed = [{-(-length // stride), length // stride} for length in (height, width)]
        assert logits.shape[:2] == (1, CLASSES)
        assert logits.shape[2] in allowed[0]
        assert logits.shape[3] in allowed[1]
        assert logits.isfinite().all()

    def test_the_backbone_has_the_output_stride(self, network: Network, config: ModelConfig) -> None:
        with torch.inference_mode():
            features = network.backbone(torch.randn(1, 3, 64, 96))

        last_features = features[-1] if full_size(config) else features["out"]
        assert last_features.shape[-2:] == (64 // config.output_stride, 96 // config.output_stride)

    def test_the_last_features_reader_gets_only_the_last_features(self, network: Network, config: ModelConfig) -> None:
        inputs: list[tuple[Tensor, ...]] = []
        images = torch.randn(1, 3, 64, 96)
        with torch.inference_mode():
            features = network.backbone(images)

        handle = network.last_features_reader.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments))
        run(network, images)
        handle.remove()

        ((arguments,),) = inputs
        assert torch.equal(arguments, features[-1] if full_size(config) else features["out"])

    def test_a_batch_equals_its_images_one_by_one(self, network: Network) -> None:
        images = torch.randn(2, 3, 64, 48)

        together = run(network, images)
        alone = torch.cat([run(network, image[None]) for image in images])

        torch.testing.assert_close(together, alone, atol=1e-4 * float(alone.abs().max()), rtol=1e-3)

    def test_bfloat16_stays_close(self, network: Network) -> None:
        images = torch.randn(1, 3, 32, 48)  # Many processors compute slowly in bfloat16.
        exact = run(network, images)

        with torch.autocast("cpu", torch.bfloat16):
            rounded = run(network, images).float()

        deviation = (rounded - exact).norm() / exact.norm()
        assert deviation < 0.1


@pytest.mark.parametrize("config", ARCHITECTURE_ROWS, ids=NAMES, indirect=True, scope="module")
class TestEveryArchitecture:
    """Networks of `REPRESENTATIVES`; all rows of `scripts.model_table.TABLE` in exhaustive runs."""

    def test_the_network_can_be_exported(self, network: Network) -> None:
        images = torch.randn(1, 3, 64, 80)

        exported = torch.export.export(network, (images,)).module()

        torch.testing.assert_close(exported(images)["out"], run(network, images), atol=1e-4, rtol=1e-3)

    def test_a_checkpoint_stores_every_bit(self, network: Network, config: ModelConfig, tmp_path: Path) -> None:
        checkpoint_metadata = metadata(model=config, resize=ResizePolicy(side="long", size=64, multiple=16))
        save_checkpoint(tmp_path / "a.safetensors", network, checkpoint_metadata)

        loaded = load_checkpoint(tmp_path / "a.safetensors").network

        expected = network.state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
        images = torch.randn(1, 3, 64, 96)
        torch.testing.assert_close(run(loaded, images), run(network, images), atol=1e-4, rtol=1e-3)

    def test_the_cost_matches_the_network(self, network: Network, config: ModelConfig) -> None:
        computed_cost = cost(config)

        assert computed_cost.parameters == sum(parameter.numel() for parameter in network.parameters())
        assert computed_cost.multiply_adds > computed_cost.parameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "deeplabv4"}, r"unknown architecture 'deeplabv4', did you mean 'deeplabv3'\?"),
        ({"backbone": "resnet_101"}, r"unknown backbone 'resnet_101', did you mean 'resnet101'\?"),
        ({"backbone": "timm:xception_65"}, r"unknown backbone 'timm:xception_65', did you mean 'timm:.*xception65.*'\?"),
        ({"backbone": "timm:vgg16"}, r"'timm:vgg16' cannot be dilated to output stride 8; .*timm:xception65"),
        ({"backbone": "timm:vit_tiny_patch16_224"}, r"cannot be dilated to output stride 8"),
        ({"backbone": "mobilenet_v2", "multi_grid": (1, 2, 4)}, r"multi_grid \(1, 2, 4\): .*ResNet.*resnet50"),
        ({"multi_grid": (1, 2)}, r"multi_grid \(1, 2\): needs 3 factors"),
        ({"decoder_channels": 64}, r"'deeplabv3' does not take 'decoder_channels' \(64\); these do: deeplabv3plus"),
        ({"architecture": "deeplabv2", "separable": True}, r"'deeplabv2' .*'separable' \(True\).*: .*deeplabv3"),
        ({"architecture": "deeplabv1", "atrous_rates": (6, 12)}, r"atrous rates \(6, 12\): deeplabv1 .*\(12,\)"),
        ({"architecture": "smp_deeplabv3", "backbone": "resnet3"}, r"rejects DeepLabV3 over 'resnet3': .*supported encoders"),
        ({"architecture": "smp_deeplabv3", "library_options": {"depth": 3}, "backbone": "resnet18"}, r"rejects DeepLabV3 over"),
    ],
)
def test_an_invalid_combination_is_refused_with_the_valid_ones(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_model(ModelConfig.model_validate(options))


@pytest.mark.parametrize("backbone", ["resnet50", "timm:resnet34"])
def test_multi_grid_multiplies_the_dilation_of_the_last_stage(backbone: str) -> None:
    network = build_model(ModelConfig(backbone=backbone, output_stride=16, multi_grid=(1, 2, 4)))

    convs = {name: module for name, module in network.backbone.named_modules() if getattr(module, "kernel_size", 0) == (3, 3)}
    dilations = [{conv.dilation[0] for name, conv in convs.items() if f"layer4.{unit}." in name} for unit in range(3)]
    assert dilations == [{2}, {4}, {8}]


@pytest.mark.parametrize(
    ("config", "rates"),
    [
        (ModelConfig(backbone="mobilenet_v2", output_stride=16), [12, 24, 36]),
        (ModelConfig(backbone="mobilenet_v2", output_stride=16, atrous_rates=(3, 5, 7)), [6, 10, 14]),
    ],
)
def test_weights_of_output_stride_16_can_be_served_at_8(tmp_path: Path, config: ModelConfig, rates: list[int]) -> None:
    network = build_model(config.model_copy(update={"num_classes": CLASSES})).eval()
    checkpoint_metadata = metadata(model=config.model_copy(update={"num_classes": CLASSES}))
    save_checkpoint(tmp_path / "a.safetensors", network, checkpoint_metadata)
    images = torch.randn(1, 3, 64, 96)

    finer = load_checkpoint(tmp_path / "a.safetensors", output_stride=8)

    assert finer.metadata.model.output_stride == 8
    assert atrous_rates(finer.network) == rates
    # Apart from padding, every second cell of the last feature map depends on the same pixels as a cell of the coarser one.
    coarse, fine = network.backbone(images)["out"], finer.network.backbone(images)["out"]
    assert fine.shape[-2:] == (8, 12)
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, atol=1e-4, rtol=1e-3)


def test_weights_of_another_library_are_served_only_at_their_own_output_stride(tmp_path: Path) -> None:
    config = ModelConfig(architecture="smp_deeplabv3plus", backbone="resnet18", output_stride=16, num_classes=CLASSES)
    checkpoint_metadata = metadata(model=config, resize=ResizePolicy(side="long", size=64, multiple=16))
    save_checkpoint(tmp_path / "a.safetensors", build_model(config), checkpoint_metadata)

    assert load_checkpoint(tmp_path / "a.safetensors", output_stride=16).metadata == checkpoint_metadata
    with pytest.raises(CheckpointError, match=r"output stride 8: weights of smp_deeplabv3plus .*16"):
        load_checkpoint(tmp_path / "a.safetensors", output_stride=8)


def atrous_rates(network: Network) -> list[int]:
    assert isinstance(network, DeepLabV3)
    convs = [branch.get_submodule("0") for branch in network.classifier.aspp.convs[1:-1]]
    return [conv.dilation[0] for conv in convs if isinstance(conv, nn.Conv2d)]


def full_size(config: ModelConfig) -> bool:
    """Whether the network's grid has its input's size, which must then be a multiple of the output stride."""
    return config.is_smp


def run(network: Network, images: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = network(images)["out"]
    return logits

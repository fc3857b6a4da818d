import pytest

from model import ARCHITECTURES, ModelConfig
from model.backbones import BACKBONES
from model.strict import ConfigurationError
from scripts.import_weights.architecture_names import network_config


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("backbone", [*BACKBONES, "timm:xception65", "tu-resnet18"])
def test_a_name_is_split_into_architecture_and_backbone(architecture: str, backbone: str) -> None:
    config = network_config(f"{architecture}_{backbone}", {})

    assert (config.architecture, config.backbone) == (architecture, backbone)


@pytest.mark.parametrize(
    ("arch", "options", "expected"),
    [
        (
            "deeplabv3plus_resnet50",
            {"multi_grid": [1, 2, 4], "separable": True, "low_level_channels": 24, "decoder_channels": 128},
            {"multi_grid": (1, 2, 4), "separable": True, "low_level_channels": 24, "decoder_channels": 128},
        ),
        ("deeplabv3_mobilenet_v3_large", {}, {"atrous_rates": (12, 24, 36), "output_stride": 16}),
        ("deeplabv3_mobilenet_v3_large", {"output_stride": 8}, {"atrous_rates": None, "output_stride": 8}),
        ("deeplabv2_resnet101", {}, {"output_stride": 8}),
        (
            "smp_deeplabv3_resnet34",
            {"separable": False, "atrous_rates": [6, 12, 18]},
            {"library_options": {"decoder_aspp_separable": False, "decoder_atrous_rates": [6, 12, 18]}, "output_stride": 8},
        ),
    ],
)
def test_options_become_fields_of_the_configuration(arch: str, options: dict[str, object], expected: dict[str, object]) -> None:
    config = network_config(arch, options)

    assert config == ModelConfig.model_validate(config.model_dump() | expected)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("deeplabv4_resnet50", r"unknown architecture 'deeplabv4', did you mean 'deeplabv3'\? .*; write ARCHITECTURE_BACKBONE"),
        ("smp_deeplabv4_resnet50", r"unknown architecture 'smp_deeplabv4', did you mean 'smp_deeplabv3'\?"),
        ("deeplabv3plus", r"--arch deeplabv3plus: names no backbone; write ARCHITECTURE_BACKBONE, for example"),
        ("resnet50", r"unknown architecture 'resnet50' \(known: deeplabv1"),
    ],
)
def test_a_name_without_an_architecture_or_a_backbone_is_refused(arch: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        network_config(arch, {})

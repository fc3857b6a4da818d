"""DeepLabs of public repositories: the imported checkpoint reproduces their logits."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from handler.network.engines.openvino_conversion import convert as convert_network
from handler.network.engines.openvino_graph import core
from model import Checkpoint, ModelConfig, build_model, load_checkpoint, state_shapes
from model.meta_device import on_meta_device
from model.preprocessing import Normalize
from scripts.import_weights.__main__ import main
from scripts.import_weights.architecture_names import network_config
from scripts.import_weights.public_layouts import find_layout
from scripts.import_weights.state_dict import find_state
from scripts.weight_files.tensor_maps import TensorMap, WeightsFile
from tests.support import metadata, noise
from tests.unit.scripts.import_weights.public_networks import CLASSES, Jfzhang95, Mmsegmentation, Vainf, randomize

from torchvision.models import resnet50

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Sequence[object], Callable[[nn.Module], object]]] = {
    "VainF V3, ResNet": (
        lambda: Vainf(False, False, 16),
        ("--arch", "deeplabv3_resnet50", "--output-stride", 16),
        lambda network: {"model_state": network.state_dict(), "best_score": 0.7},
    ),
    "VainF V3+, ResNet": (
        lambda: Vainf(True, False, 8),
        ("--arch", "deeplabv3plus_resnet50", "--output-stride", 8),
        lambda network: {"model_state": network.state_dict(), "best_score": 0.7},
    ),
    "VainF V3, MobileNet": (
        lambda: Vainf(False, True, 8),
        ("--arch", "deeplabv3_mobilenet_v2", "--output-stride", 8),
        lambda network: {"model_state": network.state_dict()},
    ),
    "VainF V3+, MobileNet": (
        lambda: Vainf(True, True, 16),
        ("--arch", "deeplabv3plus_mobilenet_v2"),
        lambda network: {"model_state": network.state_dict()},
    ),
    "jfzhang95, ResNet": (
        lambda: Jfzhang95(False, 16),
        ("--arch", "deeplabv3plus_resnet101"),
        lambda network: {"epoch": 3, "state_dict": network.state_dict(), "best_pred": 0.7},
    ),
    "jfzhang95, its ResNet with fewer units": (
        lambda: Jfzhang95(False, 16, resnet50),
        ("--arch", "deeplabv3plus_resnet50"),
        lambda network: {"epoch": 3, "state_dict": network.state_dict(), "best_pred": 0.7},
    ),
    "jfzhang95, MobileNet": (
        lambda: Jfzhang95(True, 16),
        ("--arch", "deeplabv3plus_mobilenet_v2"),
        lambda network: {"state_dict": network.state_dict()},
    ),
    "jfzhang95, MobileNet at 8": (
        lambda: Jfzhang95(True, 8),
        ("--arch", "deeplabv3plus_mobilenet_v2", "--output-stride", 8),
        lambda network: {"state_dict": network.state_dict()},
    ),
    "mmsegmentation V3": (
        lambda: Mmsegmentation(False),
        ("--arch", "deeplabv3_resnet50"),
        lambda network: {"meta": {"epoch": 3}, "state_dict": network.state_dict()},
    ),
    "mmsegmentation V3+": (
        lambda: Mmsegmentation(True),
        ("--arch", "deeplabv3plus_resnet50"),
        lambda network: {"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}},
    ),
    "mmsegmentation V3, narrow, at 16": (
        lambda: Mmsegmentation(False, True, 16, 32),
        ("--arch", "deeplabv3_resnet50", "--output-stride", 16),
        lambda network: {"meta": {}, "state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}},
    ),
    "mmsegmentation V3+, narrow, at 16, with torchvision's stem": (
        lambda: Mmsegmentation(True, False, 16, 32),
        ("--arch", "deeplabv3plus_resnet50", "--output-stride", 16),
        lambda network: {"state_dict": network.state_dict()},
    ),
}


def convert(path: Path, *options: object) -> int:
    out = path.with_suffix(".safetensors")
    return main([str(option) for option in (path, *options, "--classes", "a,b,c", "--out", out)])


#: Large networks, or heads and strides that also occur in other combinations in `NETWORKS`.
_COMBINATIONS = {
    *("VainF V3, ResNet", "VainF V3+, ResNet", "jfzhang95, ResNet", "jfzhang95, MobileNet at 8"),
    *("mmsegmentation V3", "mmsegmentation V3+"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] if name in _COMBINATIONS else []) for name in NETWORKS]
)
def test_an_imported_network_has_the_original_logits(tmp_path: Path, name: str) -> None:
    build, options, wrap = NETWORKS[name]
    original = randomize(build())
    torch.save(wrap(original), tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth", *options) == 0

    imported = load_checkpoint(tmp_path / "a.safetensors").network
    images = torch.randn(1, 3, 97, 65)
    with torch.inference_mode():
        expected, logits = original(images), imported(images)["out"]
    assert expected.std() > 0.01
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_every_tensor_of_vainfs_resnet_is_found() -> None:
    with on_meta_device():
        original = Vainf(True, False, 8).state_dict()
    file = WeightsFile(Path("a.pth"), (TensorMap("", original),))
    model = network_config("deeplabv3plus_resnet50", {"output_stride": 8})

    result = find_state(file, model, find_layout(file, model))

    expected = state_shapes(result.model.model_copy(update={"num_classes": CLASSES}))
    assert {name: tensor.shape for name, tensor in result.tensors.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }


@pytest.mark.parametrize(
    ("names", "arch", "message"),
    [
        (
            ["classifier.classifier.0.convs.0.0.weight"],
            "deeplabv1_resnet50",
            "should begin with deeplabv3 or deeplabv3plus",
        ),
        (
            ["classifier.project.0.weight", "backbone.block1.rep.0.conv1.weight"],
            "deeplabv3plus_resnet50",
            "its Xception and HRNet",
        ),
        (["classifier.project.0.weight", "classifier.aspp.convs.1.0.body.0.weight"], "deeplabv3plus_resnet50", "separable"),
        (
            ["aspp.aspp1.atrous_conv.weight", "backbone.block1.a.weight"],
            "deeplabv3plus_resnet101",
            "Xception and DRN",
        ),
        (["aspp.aspp1.atrous_conv.weight"], "deeplabv3_resnet101", "--arch should begin with deeplabv3plus"),
        (
            ["decode_head.image_pool.1.conv.weight", "backbone.layer1.0.downsample.2.weight"],
            "deeplabv3_resnet50",
            "averages before it strides",
        ),
        (["decode_head.image_pool.1.conv.weight"], "deeplabv3_mobilenet_v2", "its MobileNets are not among"),
    ],
)
def test_weights_that_cannot_be_imported_exactly_are_refused(
    tmp_path: Path, names: list[str], arch: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {name: torch.zeros(1) for name in names}}, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth", "--arch", arch) == 1

    assert message in capsys.readouterr().err


def test_a_multi_grid_of_mmsegmentation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"decode_head.image_pool.1.conv.weight": torch.zeros(1)}, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth", "--arch", "deeplabv3_resnet50", "--multi-grid", 1, 2, 4) == 1

    assert "its multi_grid gives dilations" in capsys.readouterr().err


def test_aligned_corners_at_output_stride_8_are_refused_with_a_resnet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"aspp.aspp1.atrous_conv.weight": torch.zeros(1)}, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth", "--arch", "deeplabv3plus_resnet101", "--output-stride", 8) == 1

    assert "dilates the first unit of layer3 too" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(
            architecture="deeplabv3plus",
            backbone="mobilenet_v2_jfzhang95",
            output_stride=16,
            align_corners=True,
            aspp_channels=64,
        ),
        pytest.param(
            ModelConfig(backbone="mobilenet_v2_vainf", output_stride=16, aspp_fusion=3, aspp_channels=64, head_convolutions=0),
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=lambda model: model.backbone,
)
def test_imported_networks_become_openvino_graphs(model: ModelConfig) -> None:
    network_metadata = metadata(model=model.model_copy(update={"num_classes": CLASSES}))
    network = build_model(network_metadata.model)
    randomize(network)
    pixels = torch.from_numpy(noise(65, 49))[None]

    compiled = core().compile_model(
        convert_network(Checkpoint(network, network_metadata)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )

    logits = torch.from_numpy(compiled(pixels.numpy())[0])
    with torch.inference_mode():
        expected = network(Normalize(network_metadata.normalization)(pixels))["out"]
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)

"""Backbones that start from a classifier's weights."""

import re
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model import CheckpointError, ModelConfig, build_model, build_on_meta_device
from model.strict import ConfigurationError
from scripts.training.backbone_weights import BackboneWeightsError, load_backbone_weights, published_normalization
from scripts.training.config import TrainingConfig

from torchvision import models

pytestmark = pytest.mark.slow


def timm_model(name: str) -> nn.Module:
    # Not imported while tests are collected, because it takes seconds in every process.
    import timm

    network: nn.Module = timm.create_model(name)
    return network


def randomized_state(classifier: nn.Module) -> dict[str, Tensor]:
    """Return a state dict in which no tensor has a new layer's initial value."""
    torch.manual_seed(0)
    state = classifier.state_dict()
    return {name: torch.rand_like(value) + 0.5 if value.is_floating_point() else value + 7 for name, value in state.items()}


#: Few channels, because only backbones are tested.
NARROW: dict[str, Any] = {"output_stride": 16, "aspp_channels": 16}
#: Backbones, the classifier that provides their weights, and a tensor of the backbone under both names.
BACKBONES: dict[str, tuple[ModelConfig, Any, tuple[str, str]]] = {
    "torchvision's ResNet": (
        ModelConfig(backbone="resnet50", **NARROW),
        lambda: models.resnet50(),
        ("layer4.2.bn3.running_var", "layer4.2.bn3.running_var"),
    ),
    "torchvision's MobileNetV2": (
        ModelConfig(backbone="mobilenet_v2", **NARROW),
        lambda: models.mobilenet_v2(),
        ("17.conv.1.1.running_mean", "features.17.conv.1.1.running_mean"),
    ),
    "torchvision's MobileNetV3": (
        ModelConfig(backbone="mobilenet_v3_large", **NARROW),
        lambda: models.mobilenet_v3_large(),
        ("16.1.running_mean", "features.16.1.running_mean"),
    ),
    "timm's EfficientNet-Lite": (
        ModelConfig(backbone="timm:tf_efficientnet_lite0", **NARROW),
        lambda: timm_model("tf_efficientnet_lite0"),
        ("encoder.bn1.running_var", "bn1.running_var"),
    ),
    # Its feature extractor uses other names than its classifier.
    "timm's ConvNeXt": (
        ModelConfig(backbone="timm:convnext_atto", **NARROW),
        lambda: timm_model("convnext_atto"),
        ("encoder.stages_3.blocks.1.norm.weight", "stages.3.blocks.1.norm.weight"),
    ),
    "an encoder of segmentation_models.pytorch": (
        ModelConfig(architecture="smp_deeplabv3", backbone="resnet18"),
        lambda: models.resnet18(),
        ("layer4.1.bn2.running_var", "layer4.1.bn2.running_var"),
    ),
    "an encoder of timm in segmentation_models.pytorch": (
        ModelConfig(architecture="smp_deeplabv3", backbone="tu-resnet18"),
        lambda: timm_model("resnet18"),
        ("model.layer4.1.bn2.running_var", "layer4.1.bn2.running_var"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_takes_every_tensor_from_the_classifier(tmp_path: Path, name: str) -> None:
    model, build, (backbone_key, source_key) = BACKBONES[name]
    state = randomized_state(build())
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth")
    network = build_model(model)

    sentence = load_backbone_weights(network, str(tmp_path / "a.pth"), model)

    loaded = network.backbone.state_dict()
    assert torch.equal(loaded[backbone_key], state[source_key])
    # Random values differ, so that each tensor has one origin.
    origins = {(tuple(value.shape), float(value.flatten()[0])): value for value in state.values() if value.is_floating_point()}
    for key, value in loaded.items():
        if value.is_floating_point():
            assert torch.equal(value, origins[tuple(value.shape), float(value.flatten()[0])]), key
        else:
            assert value == 7, key
    assert sentence.startswith(f"backbone {model.backbone}: {len(loaded)} tensors from {tmp_path}/a.pth; left out: ")
    assert re.search(r"fc\.weight|classifier|head", sentence)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.encoder."])
def test_a_file_may_hold_only_a_backbone_with_any_prefix_and_no_batch_counters(tmp_path: Path, prefix: str) -> None:
    model, build, (backbone_key, source_key) = BACKBONES["torchvision's MobileNetV2"]
    state = {
        name: value
        for name, value in randomized_state(build()).items()
        if name.startswith("features.") and "batches" not in name
    }
    save_file({prefix + name: value for name, value in state.items()}, tmp_path / "a.safetensors")
    network = build_model(model)

    load_backbone_weights(network, str(tmp_path / "a.safetensors"), model)

    assert torch.equal(network.backbone.state_dict()[backbone_key], state[source_key])


@pytest.mark.parametrize(
    ("backbone", "build_other", "message"),
    [
        pytest.param(
            *(
                "resnet50",
                models.resnet101,
                r"backbone than resnet50: has layer3\.6\.conv1\.weight, .* \(306 in all\)$",
            ),
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            *("resnet101", models.resnet50, r"another backbone than resnet101: lacks layer3\.6\.conv1\.weight, "),
            marks=pytest.mark.exhaustive,
        ),
        ("mobilenet_v2", models.mobilenet_v3_small, r"lacks features\.1\.conv\.0\.0\.weight, .*; has features\.1\.block"),
        (
            "timm:efficientnet_b0",
            lambda: timm_model("efficientnet_b1"),
            r"another backbone than timm:efficientnet_b0: has blocks\.0\.1\.conv_dw\.weight, blocks\.0\.1\.bn1\.weight, "
            r".* \(\d+ in all\)$",
        ),
        ("mobilenet_v2", lambda: nn.Linear(2, 2), r"a\.pth: holds no weights of mobilenet_v2, such as 0\.0\.weight"),
    ],
)
def test_weights_of_another_backbone_are_refused_by_their_first_keys(
    tmp_path: Path, backbone: str, build_other: Any, message: str
) -> None:
    model = ModelConfig(backbone=backbone, output_stride=16)
    torch.save(build_other().state_dict(), tmp_path / "a.pth")

    with pytest.raises(BackboneWeightsError, match=message):
        load_backbone_weights(build_on_meta_device(model), str(tmp_path / "a.pth"), model)


def test_a_wider_backbone_is_refused_by_its_shapes(tmp_path: Path) -> None:
    model = ModelConfig(backbone="mobilenet_v2", output_stride=16)
    torch.save(models.mobilenet_v2(width_mult=1.4).state_dict(), tmp_path / "a.pth")

    with pytest.raises(CheckpointError, match=r"wrong shapes: 0\.0\.weight is \(48, 3, 3, 3\), should be \(32, 3, 3, 3\)"):
        load_backbone_weights(build_on_meta_device(model), str(tmp_path / "a.pth"), model)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model, build, _ = BACKBONES["torchvision's MobileNetV2"]
    state = randomized_state(build())
    state["features.0.0.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "a.pth")

    with pytest.raises(CheckpointError, match=r"NaN or infinite: 0\.0\.weight \(1 of 864\)"):
        load_backbone_weights(build_on_meta_device(model), str(tmp_path / "a.pth"), model)


def test_torchvisions_published_weights_are_read_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, build, (backbone_key, source_key) = BACKBONES["torchvision's MobileNetV2"]
    state = randomized_state(build())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    published = models.MobileNet_V2_Weights.IMAGENET1K_V1
    torch.save(state, tmp_path / "hub" / "checkpoints" / Path(published.url).name)
    network = build_model(model)

    sentence = load_backbone_weights(network, "imagenet", model)

    assert torch.equal(network.backbone.state_dict()[backbone_key], state[source_key])
    assert "from MobileNet_V2_Weights.IMAGENET1K_V1; left out: " in sentence


def test_an_unreachable_download_is_reported_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    model = ModelConfig(backbone="mobilenet_v2")

    with pytest.raises(BackboneWeightsError) as error:
        load_backbone_weights(build_on_meta_device(model), "imagenet", model)

    sentence = str(error.value)
    assert sentence.startswith("torchvision's MobileNet_V2_Weights.IMAGENET1K_V1 cannot be fetched (")
    assert f"into {tmp_path}/hub/checkpoints, or give a file" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("model", "origin"),
    [
        (ModelConfig(backbone="timm:mobilenetv2_050"), "timm's weights timm/mobilenetv2_050.lamb_in1k"),
        (
            ModelConfig(architecture="smp_deeplabv3", backbone="mobilenet_v2"),
            "segmentation_models.pytorch's weights smp-hub/mobilenet_v2.imagenet",
        ),
    ],
)
def test_an_unreachable_hub_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ModelConfig, origin: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(BackboneWeightsError) as error:
        load_backbone_weights(build_on_meta_device(model), "imagenet", model)

    assert str(error.value).startswith(f"{origin} cannot be fetched (")
    assert str(error.value).endswith("or give a file with a classifier's state dict as backbone_weights")
    assert "\n" not in str(error.value)


def test_a_backbone_without_published_weights_is_refused() -> None:
    model = ModelConfig(backbone="timm:resnetblur18", output_stride=16)

    with pytest.raises(BackboneWeightsError, match="timm has no published weights of resnetblur18"):
        load_backbone_weights(build_on_meta_device(model), "imagenet", model)


def test_the_normalization_of_published_weights_is_known() -> None:
    assert published_normalization(ModelConfig(backbone="timm:tf_efficientnet_lite0")).mean == (0.5, 0.5, 0.5)
    assert published_normalization(ModelConfig(backbone="resnet50")).mean == (0.485, 0.456, 0.406)


def test_start_and_backbone_weights_are_mutually_exclusive() -> None:
    with pytest.raises(ConfigurationError, match="start and backbone_weights: give one"):
        TrainingConfig.parse({"model": {}, "epochs": 1, "start": "a", "backbone_weights": "imagenet"}, source="a.yaml")

"""Models of segmentation_models.pytorch keep their logits after being converted, stored and loaded."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model import Checkpoint, ResizePolicy, load_checkpoint
from scripts.import_weights.__main__ import main

pytestmark = pytest.mark.slow

CLASSES = ("background", "roof", "tree")
MODELS = [(name, encoder) for name in ("DeepLabV3", "DeepLabV3Plus") for encoder in ("resnet18", "mobilenet_v2", "tu-resnet18")]
SUFFIXES = (".pth", ".safetensors")


def mark_exhaustive(cases: Sequence[tuple[object, ...]], every: int) -> list[Any]:
    """Mark all cases except every n-th exhaustive; the others still cover each value of each parameter."""
    return [pytest.param(*case, marks=pytest.mark.exhaustive if number % every else ()) for number, case in enumerate(cases)]


def build(name: str, encoder: str, classes: int = 3, **options: Any) -> nn.Module:
    """Build the library's own model with random weights and statistics."""
    # Not imported while tests are collected, because it takes seconds in every process.
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    network: nn.Module = getattr(smp, name)(encoder, encoder_weights=None, classes=classes, **options)
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        for parameter in (norm.running_var, norm.weight):
            nn.init.uniform_(parameter, 0.5, 1.5)  # type: ignore[arg-type]
        for parameter in (norm.running_mean, norm.bias):
            nn.init.normal_(parameter, std=0.1)  # type: ignore[arg-type]
    return network.eval()


def run(source: Path, *arguments: object, classes: str = ",".join(CLASSES)) -> int:
    out = source.parent / "a.safetensors"
    return main([str(argument) for argument in (source, "--classes", classes, "--out", out, *arguments)])


def convert(source: Path, *arguments: object, classes: str = ",".join(CLASSES)) -> Checkpoint:
    assert run(source, *arguments, classes=classes) == 0
    return load_checkpoint(source.parent / "a.safetensors")


def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        output = network(images)
    tensor: Tensor = output["out"] if isinstance(output, dict) else output[0] if isinstance(output, tuple) else output
    return tensor


def assert_same_logits(imported: nn.Module, original: nn.Module) -> None:
    images = torch.randn(2, 3, 96, 64)
    torch.testing.assert_close(logits(imported, images), logits(original, images), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "encoder"), mark_exhaustive(MODELS, 2))
def test_a_folder_of_save_pretrained_needs_only_class_names(tmp_path: Path, name: str, encoder: str) -> None:
    original = build(name, encoder, encoder_output_stride=8, decoder_channels=64, decoder_atrous_rates=(3, 6, 9))
    original.save_pretrained(tmp_path / "model")  # type: ignore[operator]

    checkpoint = convert(tmp_path / "model", "--license", "MIT")

    assert_same_logits(checkpoint.network, original)
    checkpoint_metadata = checkpoint.metadata
    assert (checkpoint_metadata.model.architecture, checkpoint_metadata.model.backbone) == (f"smp_{name.lower()}", encoder)
    assert checkpoint_metadata.classes == CLASSES
    assert checkpoint_metadata.resize == ResizePolicy(multiple=16)
    assert (checkpoint_metadata.license, checkpoint_metadata.provenance) == ("MIT", "imported from model")


@pytest.mark.parametrize(
    ("name", "encoder", "suffix"),
    # Two of the twelve networks, one per kind of file; folders cover the rest.
    mark_exhaustive([(*model, suffix) for model in MODELS for suffix in SUFFIXES], 11),
)
def test_a_state_dict_is_imported_for_its_arch(tmp_path: Path, name: str, encoder: str, suffix: str) -> None:
    original = build(name, encoder)
    source = tmp_path / f"model{suffix}"
    (torch.save if suffix == ".pth" else save_file)(dict(original.state_dict()), source)

    checkpoint = convert(source, "--arch", f"smp_{name.lower()}_{encoder}")

    assert_same_logits(checkpoint.network, original)


def test_options_of_the_arch_are_passed_to_the_library(tmp_path: Path) -> None:
    original = build(
        "DeepLabV3Plus", "mobilenet_v2", decoder_channels=32, decoder_atrous_rates=(2, 4, 6), decoder_aspp_separable=False
    )
    torch.save(original.state_dict(), tmp_path / "model.pth")

    options = ("--decoder-channels", 32, "--atrous-rates", 2, 4, 6, "--no-separable", "--output-stride", 16)
    checkpoint = convert(tmp_path / "model.pth", "--arch", "smp_deeplabv3plus_mobilenet_v2", *options)

    assert_same_logits(checkpoint.network, original)


def test_keys_of_earlier_versions_are_renamed(tmp_path: Path) -> None:
    original = build("DeepLabV3", "mobilenet_v2", decoder_channels=16)
    earlier = {"decoder.aspp.": "decoder.0.", "decoder.conv.": "decoder.1.", "decoder.bn.": "decoder.2."}
    state = dict(original.state_dict())
    for new_name, old_name in earlier.items():
        state = {name.replace(new_name, old_name): tensor for name, tensor in state.items()}
    assert any(name.startswith("decoder.0.") for name in state)
    torch.save(state, tmp_path / "model.pth")

    checkpoint = convert(tmp_path / "model.pth", "--arch", "smp_deeplabv3_mobilenet_v2", "--decoder-channels", 16)
    assert_same_logits(checkpoint.network, original)


def test_weights_in_pytorchs_format_are_read_too(tmp_path: Path) -> None:
    original = build("DeepLabV3Plus", "mobilenet_v2", decoder_channels=16)
    original.save_pretrained(tmp_path / "model")  # type: ignore[operator]
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(original.state_dict(), tmp_path / "model" / "pytorch_model.bin")

    assert_same_logits(convert(tmp_path / "model").network, original)


def test_a_classification_head_and_an_activation_are_omitted_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = build("DeepLabV3", "mobilenet_v2", decoder_channels=16, activation="softmax2d", aux_params={"classes": 4})
    original.save_pretrained(tmp_path / "model")  # type: ignore[operator]

    checkpoint = convert(tmp_path / "model")

    printed = capsys.readouterr().out
    assert "note: left out, not part of the network: classification_head." in printed
    assert "note: its activation, softmax2d, is left out" in printed
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(logits(checkpoint.network, images).softmax(1), logits(original, images), atol=1e-5, rtol=0)


def test_one_class_against_the_background_becomes_two_with_the_same_probability(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = build("DeepLabV3Plus", "mobilenet_v2", classes=1, decoder_channels=16)
    original.save_pretrained(tmp_path / "model")  # type: ignore[operator]

    checkpoint = convert(tmp_path / "model", classes="background,roof")

    assert "one logit x, of class 1, has become two" in capsys.readouterr().out
    images = torch.randn(1, 3, 64, 64)
    two_logits, one_logit = logits(checkpoint.network, images), logits(original, images)
    torch.testing.assert_close(two_logits.softmax(1)[:, 1:], one_logit.sigmoid(), atol=1e-6, rtol=0)
    assert torch.equal(two_logits.argmax(1), (one_logit[:, 0] > 0).long())


def model_config(**changes: object) -> dict[str, object]:
    return {"_model_class": "DeepLabV3", "encoder_name": "resnet18", "encoder_output_stride": 8, **changes}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (model_config(_model_class="Unet"), "is a Unet, not a DeepLab (known: DeepLabV3, DeepLabV3Plus)"),
        (model_config(in_channels=4), "takes images with 4 channels, should be 3"),
        (model_config(encoder_name="resnet17"), "rejects DeepLabV3 over 'resnet17'"),
        (model_config(encoder_output_stride=32), "'output_stride': 32: Input should be 8 or 16"),
        (model_config(dekoder_channels=9), "rejects DeepLabV3 over 'tu-resnet18'"),
        ({"architectures": ["Segformer"]}, "has no _model_class"),
        ({"_model_class": "DeepLabV3"}, "lacks encoder_name, encoder_output_stride"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused(
    tmp_path: Path, config: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    if "dekoder_channels" in config:
        config["encoder_name"] = "tu-resnet18"
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    save_file({"a": torch.zeros(1)}, tmp_path / "model" / "model.safetensors")

    assert run(tmp_path / "model") == 1

    assert message in capsys.readouterr().err


def test_missing_class_names_are_reported_with_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build("DeepLabV3", "mobilenet_v2", decoder_channels=16).save_pretrained(tmp_path / "model")  # type: ignore[operator]

    assert main([str(tmp_path / "model")]) == 1
    assert capsys.readouterr().err == "error: model: does not name its classes; give --classes\n"


def test_a_folder_without_weights_or_configuration_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    assert run(tmp_path / "model") == 1
    assert "model: has no config.json" in capsys.readouterr().err

    (tmp_path / "model" / "config.json").write_text(json.dumps(model_config()))
    assert run(tmp_path / "model") == 1
    assert "model: has no weights, should hold model.safetensors or pytorch_model.bin" in capsys.readouterr().err


def test_weights_of_another_model_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(build("DeepLabV3", "mobilenet_v2", decoder_channels=16).state_dict(), tmp_path / "model.pth")

    assert run(tmp_path / "model.pth", "--arch", "smp_deeplabv3_mobilenet_v2", "--decoder-channels", 24) == 1

    assert "network.decoder.aspp.convs.0.0.weight is (16, 1280, 1, 1), should be (24, 1280, 1, 1)" in capsys.readouterr().err

"""Weights for other classes: refused, or reinitialized on request."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from model import ModelConfig, ResizePolicy, build_model, load_checkpoint, state_shapes
from scripts.import_weights.__main__ import main
from scripts.import_weights.classifier import class_axes, fit_classes, reinitialize
from tests.support import write_checkpoint

pytestmark = pytest.mark.slow

#: Options for few channels, which take less time.
NARROW: dict[str, Any] = {"aspp_channels": 16, "decoder_channels": 16}
NARROW_SMP: dict[str, Any] = {"decoder_channels": 16}
#: The layers that depend on the number of classes, found by reading each architecture.
NETWORKS = {
    "deeplabv1": (ModelConfig(architecture="deeplabv1", backbone="mobilenet_v2"), {"classifier.6"}),
    "deeplabv2": (
        ModelConfig(architecture="deeplabv2", backbone="mobilenet_v2"),
        {f"classifier.classifiers.{index}" for index in range(4)},
    ),
    "deeplabv3": (
        ModelConfig(backbone="mobilenet_v2", aspp_channels=16, auxiliary_head=True),
        {"classifier.4", "aux_classifier.4"},
    ),
    "deeplabv3plus": (
        ModelConfig(
            architecture="deeplabv3plus",
            backbone="timm:mobilenetv2_100",
            aspp_channels=16,
            decoder_channels=16,
            auxiliary_head=True,
        ),
        {"classifier.classifier", "aux_classifier.4"},
    ),
    "smp_deeplabv3": (
        ModelConfig(architecture="smp_deeplabv3", backbone="mobilenet_v2", library_options=NARROW_SMP),
        {"network.segmentation_head.0"},
    ),
    "smp_deeplabv3plus": (
        ModelConfig(
            architecture="smp_deeplabv3plus",
            backbone="mobilenet_v2",
            library_options=NARROW_SMP,
            output_stride=16,
        ),
        {"network.segmentation_head.0"},
    ),
}
#: A network with one class layer, one with several and one of the library's; the others behave alike.
REPRESENTATIVES = [
    pytest.param(name, marks=() if name in {"deeplabv2", "deeplabv3", "smp_deeplabv3plus"} else pytest.mark.exhaustive)
    for name in NETWORKS
]


def write_narrow_checkpoint(path: Path, **changes: object) -> Path:
    model = ModelConfig(backbone="mobilenet_v2", num_classes=3, output_stride=16, aspp_channels=16)
    return write_checkpoint(path, model=model, **changes)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_layers_that_depend_on_the_classes_are_found(architecture: str) -> None:
    config, layers = NETWORKS[architecture]

    axes = class_axes(config)

    assert {name.rpartition(".")[0] for name in axes} == layers
    assert set(axes.values()) == {0}
    assert {name.rpartition(".")[2] for name in axes} == {"weight", "bias"}


@pytest.mark.parametrize("architecture", REPRESENTATIVES)
def test_reinitialization_changes_only_class_layers_and_is_deterministic(architecture: str) -> None:
    config, _ = NETWORKS[architecture]
    state = state_shapes(config.model_copy(update={"num_classes": 5}))
    three_classes = config.model_copy(update={"num_classes": 3})

    first, (note,) = reinitialize(state, three_classes)
    torch.randn(1)
    second, _ = reinitialize(state, three_classes)

    axes = class_axes(config)
    assert all(first[name] is state[name] for name in state.keys() - axes)
    assert all(first[name].shape[axis] == 3 and torch.equal(first[name], second[name]) for name, axis in axes.items())
    assert note.endswith("train the checkpoint before you use it")


def test_reinitialization_does_not_change_the_generators_state() -> None:
    config, _ = NETWORKS["deeplabv3"]
    state = state_shapes(config)
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)

    reinitialize(state, config)

    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize("architecture", REPRESENTATIVES)
def test_one_logit_is_converted_to_two_for_two_classes(architecture: str) -> None:
    config, _ = NETWORKS[architecture]
    two_class_config = config.model_copy(update={"num_classes": 2, "auxiliary_head": False})
    network = build_model(two_class_config).eval()
    axes = class_axes(two_class_config)
    one_class_state = {
        name: tensor.narrow(axes[name], 1, 1) if name in axes else tensor for name, tensor in network.state_dict().items()
    }
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(images)["out"][:, 1:]

    state, (note,) = fit_classes(one_class_state, two_class_config, source="a.pth")

    assert "one logit x" in note
    network.load_state_dict(state)
    with torch.inference_mode():
        logits = network(images)["out"]
    torch.testing.assert_close(logits, torch.cat([torch.zeros_like(expected), expected], 1), atol=1e-5, rtol=0)


@pytest.fixture(scope="module", params=[".pth", pytest.param(".safetensors", marks=pytest.mark.exhaustive)])
def five_classes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state dict of five classes, without metadata."""
    path = tmp_path_factory.mktemp("five classes") / f"a{request.param}"
    state = build_model(
        ModelConfig(architecture="deeplabv3plus", backbone="mobilenet_v2", num_classes=5, output_stride=16, aspp_channels=16)
    ).state_dict()
    (torch.save if request.param == ".pth" else save_file)(dict(state), path)
    return path


ARCH = ("--arch", "deeplabv3plus_mobilenet_v2", "--aspp-channels", 16)


def test_weights_for_other_classes_are_refused_with_both_numbers_and_the_flag(
    tmp_path: Path, five_classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"

    assert run(five_classes, *ARCH, "--classes", "a,b,c", "--out", out) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"error: {five_classes.name}: has weights for 5 classes (in classifier.classifier), ")
    assert "--reinitialize-classifier" in error
    assert not out.exists()


def test_with_the_flag_the_class_layers_are_reinitialized(
    tmp_path: Path, five_classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"

    assert run(five_classes, *ARCH, "--classes", "a,b,c", "--reinitialize-classifier", "--out", out) == 0

    printed = capsys.readouterr().out
    assert "new layers with random weights: classifier.classifier" in printed
    metadata = load_checkpoint(out).metadata
    assert metadata.classes == ("a", "b", "c")
    assert metadata.provenance == f"imported from {five_classes.name}; new classifier layers, not trained"


def test_with_the_flag_all_other_layers_must_still_fit(five_classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arch = ("--arch", "deeplabv3plus_mobilenet_v3_large")

    assert run(five_classes, *arch, "--classes", "a,b,c", "--reinitialize-classifier") == 1

    assert "missing keys: " in capsys.readouterr().err


def test_a_checkpoint_can_be_reinitialized_for_other_classes(tmp_path: Path) -> None:
    source, out = write_narrow_checkpoint(tmp_path / "a.safetensors", license="MIT"), tmp_path / "b.safetensors"

    assert run(source, "--classes", "wall,door,roof,sky", "--reinitialize-classifier", "--out", out) == 0

    before, after = load_checkpoint(source), load_checkpoint(out)
    assert after.metadata.classes == ("wall", "door", "roof", "sky")
    assert after.metadata.resize == before.metadata.resize == ResizePolicy(side="long", size=64)
    assert after.metadata.license == "MIT"
    assert after.metadata.provenance == "random weights; new classifier layers, not trained"
    assert torch.equal(after.network.get_parameter("classifier.1.weight"), before.network.get_parameter("classifier.1.weight"))
    assert after.network.get_parameter("classifier.4.weight").shape[0] == 4


def test_a_checkpoint_for_other_classes_is_refused_without_the_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_narrow_checkpoint(tmp_path / "a.safetensors")

    assert run(source, "--classes", "wall,door,roof,sky", "--out", tmp_path / "b.safetensors") == 1

    assert "has weights for 3 classes (in classifier.4), --classes names 4" in capsys.readouterr().err


def test_a_checkpoint_is_not_written_over_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_narrow_checkpoint(tmp_path / "a.safetensors")
    before = source.read_bytes()

    assert run(source, "--classes", "a,b", "--reinitialize-classifier", "--out", source) == 2

    assert f"--out {source}: is the source itself" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_options_for_state_dicts_are_refused_for_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_narrow_checkpoint(tmp_path / "a.safetensors")

    assert run(source, *ARCH, "--output-stride", 8, "--classes", "a,b,c") == 2

    assert "--arch, --output-stride, --aspp-channels: only for state dicts" in capsys.readouterr().err


def test_an_evaluation_is_kept_only_under_its_conditions(tmp_path: Path) -> None:
    evaluation = {"dataset": "pets", "miou": 0.5}
    source = write_narrow_checkpoint(tmp_path / "a.safetensors", evaluations=[evaluation])

    assert run(source, "--license", "MIT", "--out", tmp_path / "b.safetensors") == 0
    assert run(source, "--resize", 96, "--out", tmp_path / "c.safetensors") == 0

    assert len(load_checkpoint(tmp_path / "b.safetensors").metadata.evaluations) == 1
    assert load_checkpoint(tmp_path / "c.safetensors").metadata.evaluations == ()
    assert load_checkpoint(tmp_path / "c.safetensors").metadata.resize == ResizePolicy(side="long", size=96)

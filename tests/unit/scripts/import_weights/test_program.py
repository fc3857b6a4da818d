import pickle
import urllib.error
from pathlib import Path

import pytest
import torch

from model import DeepLabV3, Normalization, ResizePolicy, load_checkpoint, read_metadata
from scripts.import_weights.__main__ import main
from scripts.import_weights.architecture_names import network_config
from scripts.import_weights.torchvision import torchvision_metadata
from scripts.import_weights.torchvision_models import TORCHVISION_MODELS

from torchvision.models import get_model_weights, segmentation

pytestmark = pytest.mark.slow


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("background\nroof\ntree\n")
    return path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


PUBLISHED = "deeplabv3_mobilenet_v3_large"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that PyTorch caches for `PUBLISHED`; only its weights are random."""
    cached = tmp_path_factory.mktemp("torch home") / "hub" / "checkpoints" / Path(get_model_weights(PUBLISHED).DEFAULT.url).name
    cached.parent.mkdir(parents=True)
    reference = segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, aux_loss=True)
    torch.save(reference.state_dict(), cached)
    return cached


def test_torchvisions_cached_weights_become_a_checkpoint(
    tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(published.parents[2]))

    assert run(f"torchvision:{PUBLISHED}", "--out", tmp_path / "a.safetensors") == 0

    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded.metadata.model == TORCHVISION_MODELS[PUBLISHED]
    expected = torch.load(published)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in loaded.network.state_dict().items())


def test_torchvisions_weights_can_be_reinitialized_for_other_classes(
    tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(published.parents[2]))
    out = tmp_path / "a.safetensors"

    assert run(f"torchvision:{PUBLISHED}", "--classes", "a,b,c", "--reinitialize-classifier", "--out", out) == 0

    metadata = read_metadata(out)
    assert (metadata.classes, metadata.evaluations, metadata.license) == (("a", "b", "c"), (), "BSD-3-Clause")
    assert metadata.model == TORCHVISION_MODELS[PUBLISHED].model_copy(update={"num_classes": 3})


@pytest.mark.parametrize(
    ("name", "miou", "accuracy"),
    [
        ("deeplabv3_resnet50", 0.664, 0.924),
        ("deeplabv3_resnet101", 0.674, 0.924),
        ("deeplabv3_mobilenet_v3_large", 0.603, 0.912),
    ],
)
def test_metadata_equals_torchvisions(name: str, miou: float, accuracy: float) -> None:
    metadata = torchvision_metadata(name, get_model_weights(name).DEFAULT)

    assert metadata.classes[:2] == ("background", "aeroplane")
    assert len(metadata.classes) == 21
    assert metadata.normalization == Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert metadata.resize == ResizePolicy(side="short", size=520)
    (evaluation,) = metadata.evaluations
    assert (evaluation.dataset, evaluation.miou, evaluation.pixel_accuracy) == ("COCO-val2017-VOC-labels", miou, accuracy)


def test_an_unreachable_download_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)

    assert run("torchvision:deeplabv3_resnet101", "--out", tmp_path / "a.safetensors") == 1

    (sentence,) = capsys.readouterr().err.splitlines()[-1:]
    assert sentence.startswith("error: the weights of deeplabv3_resnet101 cannot be fetched: ")
    assert str(tmp_path / "hub" / "checkpoints") in sentence
    assert not (tmp_path / "a.safetensors").exists()


def test_an_unknown_model_is_refused_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("torchvision:deeplabv3_resnet5", "--out", tmp_path / "a.safetensors") == 1
    assert "called 'deeplabv3_resnet5', did you mean 'deeplabv3_resnet50'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        pytest.param(lambda state: state, "", id="bare"),
        pytest.param(lambda state: {"model": state, "epoch": 3}, "", id="with epoch", marks=pytest.mark.exhaustive),
        pytest.param(lambda state: {"state_dict": state}, "module.", id="data parallel"),
    ],
)
def test_a_state_dict_becomes_a_checkpoint(tmp_path: Path, names: Path, wrap, prefix: str) -> None:  # type: ignore[no-untyped-def]
    network = DeepLabV3("mobilenet_v2", 3, output_stride=16, aspp_channels=16)
    torch.save(wrap({prefix + key: tensor for key, tensor in network.state_dict().items()}), tmp_path / "a.pth")

    status = run(
        tmp_path / "a.pth", "--arch", "deeplabv3_mobilenet_v2", "--aspp-channels", 16, "--classes", names,
        "--out", tmp_path / "a.safetensors", "--resize", 384, "--resize-side", "long", "--license", "MIT",
    )  # fmt: skip

    assert status == 0
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded.metadata.classes == ("background", "roof", "tree")
    assert loaded.metadata.resize == ResizePolicy(side="long", size=384)
    assert loaded.metadata.license == "MIT"
    assert torch.equal(loaded.network.get_parameter("classifier.4.bias"), network.get_parameter("classifier.4.bias"))


def test_weights_of_another_network_are_refused_by_their_keys(
    tmp_path: Path, names: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(DeepLabV3("mobilenet_v2", 3, aspp_channels=16).state_dict(), tmp_path / "a.pth")

    assert run(tmp_path / "a.pth", "--arch", "deeplabv3_mobilenet_v3_large", "--classes", names) == 1

    error = capsys.readouterr().err
    assert "missing keys: " in error
    assert "unexpected keys: " in error


def test_a_pickle_that_runs_code_is_refused_and_not_run(
    tmp_path: Path, names: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": Touch(marker)}, protocol=2))

    assert run(tmp_path / "a.pth", "--arch", "deeplabv3_resnet50", "--classes", names) == 1

    assert "torch.save did not write it, or it is damaged" in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize(("arguments", "missing_option"), [((), "--arch"), (("--arch", "deeplabv3_resnet50"), "--classes")])
def test_a_state_dict_needs_its_architecture_and_class_names(
    tmp_path: Path, arguments: tuple[str, ...], missing_option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pth").touch()

    assert run(tmp_path / "a.pth", *arguments) == 2

    assert f"{missing_option} is required" in capsys.readouterr().err


def test_an_auxiliary_head_is_detected_and_class_names_can_be_listed(tmp_path: Path) -> None:
    network = DeepLabV3("mobilenet_v2", 3, output_stride=8, auxiliary_head=True)
    torch.save(network.state_dict(), tmp_path / "a.pth")

    arguments = ("--arch", "deeplabv3_mobilenet_v2", "--output-stride", 8, "--classes", "background, roof,tree")
    assert run(tmp_path / "a.pth", *arguments, "--out", tmp_path / "a.safetensors") == 0

    metadata = read_metadata(tmp_path / "a.safetensors")
    assert metadata.provenance == "imported from a.pth"
    assert metadata.model.auxiliary_head
    assert metadata.model.output_stride == 8
    assert metadata.classes == ("background", "roof", "tree")


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({1: torch.zeros(1)}, tmp_path / "a.pth")

    assert run(tmp_path / "a.pth", "--arch", "deeplabv3_resnet50", "--classes", "a,b") == 1
    assert "holds dict of Tensor, should hold a state dict: tensors by name" in capsys.readouterr().err


def test_a_missing_file_of_names_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")

    assert run(tmp_path / "a.pth", "--arch", "deeplabv3_mobilenet_v2", "--classes", "nothing.txt") == 2
    assert "--classes nothing.txt: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arch", "stride", "expected"),
    [
        ("deeplabv3_resnet50", None, (8, None)),
        ("deeplabv3_mobilenet_v3_large", None, (16, (12, 24, 36))),
        ("deeplabv3_mobilenet_v3_large", 8, (8, None)),
        ("deeplabv3_mobilenet_v2", None, (16, None)),
    ],
)
def test_an_arch_has_its_default_output_stride_and_rates(
    arch: str, stride: int | None, expected: tuple[int, tuple[int, ...] | None]
) -> None:
    model = network_config(arch, {"output_stride": stride} if stride else {})

    assert (model.output_stride, model.atrous_rates) == expected


class Touch:
    """Leaves a file behind if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._path,)

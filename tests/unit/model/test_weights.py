"""The checkpoints of this repository."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handler.labels import Labels
from handler.segmenter import Segmenter
from model import read_metadata
from scripts.package import MODELS
from scripts.package.__main__ import main
from scripts.samples import write_samples
from tests.support import ROOT

#: The classes in a photograph, largest first.
_EXPECTED_CLASSES = {
    "objects": ("chelsea", ("cat",)),
    "scenes": ("temple", ("sky", "building", "tree")),
    "streets": ("street", ("vegetation", "building", "road", "sky")),
}


def test_every_checkpoint_has_a_name() -> None:
    assert sorted((ROOT / "model" / "weights").glob("*.safetensors")) == sorted(MODELS.values())


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_is_small_and_documents_its_provenance(name: str) -> None:
    metadata = read_metadata(MODELS[name])

    assert MODELS[name].stat().st_size <= 6_000_000
    assert len(metadata.classes) == len(set(metadata.palette)) == {"objects": 21, "scenes": 31, "streets": 19}[name]
    assert metadata.license == "Apache-2.0"
    assert "Fine-tuned" in metadata.provenance
    assert MODELS[name].name in (ROOT / "docs" / "models.md").read_text()


def test_scenes_has_no_class_for_untrained_labels() -> None:
    """The first of ADE20K's 32 published labels is for anything else; the second is "wall"."""
    metadata = read_metadata(MODELS["scenes"])

    assert metadata.model.num_classes == len(metadata.classes) == 31
    assert metadata.classes[:2] == ("wall", "building")
    assert Labels.from_metadata(metadata).background is None


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_recognizes_the_classes_in_its_photograph(name: str, tmp_path: Path) -> None:
    photograph, expected = _EXPECTED_CLASSES[name]
    (path,) = write_samples(tmp_path, [photograph])

    result = Segmenter.load(MODELS[name], engine="torch")(path)

    shares = {segment.label: segment.fraction for segment in result.segments if segment.label != "background"}
    assert set(sorted(shares, key=lambda label: -shares[label])[: len(expected)]) == set(expected)
    with Image.open(path) as image:
        assert np.asarray(result.label_map).shape == (image.height, image.width)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "street"], "unknown name 'street', did you mean 'streets'?"),
        (["--model", "scenes", "--name", "rooms"], "leave out --checkpoint, --name and --class-names"),
    ],
)
def test_an_invalid_model_option_is_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--out", str(tmp_path)]) == 2

    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_make_serve_packages_each_model_under_its_name() -> None:
    command = ["make", "-n", "serve", "MODELS=objects streets"]
    commands = " ".join(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())

    assert "--out build/model-store --model objects --model streets" in commands
    assert "--archive build/model-store/objects.mar --archive build/model-store/streets.mar" in commands

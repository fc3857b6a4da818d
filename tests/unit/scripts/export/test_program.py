import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.network.engines.base import Logits, Pixels
from model import ModelConfig, ResizePolicy
from scripts.export.__main__ import main
from scripts.export.comparison import compared_sizes
from scripts.export.targets import OPENVINO, TARGETS, Destination, SingleFile
from tests.quantized import Quantized
from tests.support import encode, metadata, noise, write_checkpoint

needs_onnx = pytest.mark.skipif(not find_spec("onnx"), reason="the extra export is missing")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("export") / "my pets.safetensors")


@needs_onnx
def test_a_triton_repository_is_written(quantized: Quantized, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(quantized.path), "--to", "triton", "--out", str(tmp_path / "models"), "--name", "pets"]) == 0

    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["models/pets/1/model.onnx", "models/pets/config.pbtxt"]
    assert (tmp_path / "models" / "pets").stat().st_mode & 0o055 == 0o055, "servers run as other users"
    printed = capsys.readouterr().out
    assert "note: the model is quantized; the export has its float32 weights" in printed
    assert re.search(r"compared: ONNX Runtime [\d.]+ in float32 labels (100\.0000|99\.99\d\d)% of [\d,]+ pixels", printed)
    assert "at 96×96, 73×73, 49×49; logits differ by" in printed


@pytest.mark.slow
def test_an_ovms_repository_is_written_from_an_archive(small_archive: Path, tmp_path: Path) -> None:
    photograph = tmp_path / "a.png"
    photograph.write_bytes(encode(noise(70, 90)))

    assert main([str(small_archive), "--to", "ovms", "--out", str(tmp_path), "--version", "3", "--image", str(photograph)]) == 0

    photograph.unlink()
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["config.json", "pets/3/model.bin", "pets/3/model.xml"]
    assert json.loads((tmp_path / "config.json").read_text())["model_config_list"][0]["config"]["name"] == "pets"


def load_wrong_graph(path: Path) -> Callable[[Pixels], tuple[npt.NDArray[Any], Logits]]:
    """Return a runner whose labels are not the network's."""
    del path
    return lambda pixels: (np.full(pixels.shape[:3], 255, np.uint8), np.zeros((len(pixels), 3, 1, 1), np.float32))


@pytest.mark.slow
def test_a_file_with_other_labels_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong_format = replace(OPENVINO, write=lambda *arguments: arguments[-1].write_text("graph"), load=load_wrong_graph)
    monkeypatch.setitem(TARGETS, "openvino", SingleFile(wrong_format))
    out = tmp_path / "new" / "pets.xml"

    assert main([str(checkpoint), "--to", "openvino", "--out", str(out)]) == 1

    assert re.search(
        r"not written: OpenVINO .* labels 0\.0000% .*; should be 99\.99% or more\. .*\(--image\)", capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_beside_its_weights(tmp_path: Path) -> None:
    graph, out = tmp_path / "model.xml", tmp_path / "out" / "pets.xml"
    for path in (graph, graph.with_suffix(".bin")):
        path.write_text(path.suffix)

    assert TARGETS["openvino"].publish(graph, metadata(), Destination(out, "pets", 1)) == out

    assert {path.name: path.read_text() for path in out.parent.iterdir()} == {"pets.xml": ".xml", "pets.bin": ".bin"}


def test_a_missing_package_is_reported(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)

    assert main([str(checkpoint), "--to", "onnx", "--out", str(tmp_path / "a.onnx")]) == 1

    assert re.search(r"ONNX needs a package .*onnx.*pip install '\.\[export\]'", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--to", "tritn"], 2, "unknown name 'tritn', did you mean 'triton'?"),
        (["--to", "onnx", "--out", "a.xml"], 2, r"--out a\.xml: must end in \.onnx"),
        (["--to", "openvino", "--out", "folder.xml"], 2, r"--out folder\.xml: is a folder, should be a file"),
        (
            ["--to", "openvino", "--out", "a.xml", "--version", "2"],
            2,
            "--version 2: is for model repositories; --to",
        ),
        (["--to", "ovms", "--out", "file"], 2, "--out file: is a file, should be the folder"),
        (["--to", "ovms", "--out", "models"], 2, "--name 'my pets': must be letters, digits"),
        (["--to", "ovms", "--out", "folder.xml", "--name", "pets"], 1, r"folder\.xml/config\.json: not a configuration"),
        (["--to", "ovms", "--name", "pets", "--version", "0"], 2, "'0' must be a whole number, 1 or more"),
        (["--to", "ovms", "--name", "pets", "--image", "file"], 1, "file: the 4 bytes"),
        (["--to", "ovms", "--name", "pets", "--image", "none.jpg"], 2, r"'none\.jpg': no such file"),
    ],
)
def test_invalid_inputs_are_reported(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.xml").mkdir()
    (tmp_path / "folder.xml" / "config.json").write_text("{}")
    (tmp_path / "file").write_text("text")

    assert main([str(checkpoint), *options]) == code

    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(("name", "message"), [("a.mar", "not a model archive"), ("a.safetensors", "not a safetensors file")])
def test_a_file_that_is_not_a_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    (tmp_path / name).write_text("text")

    assert main([str(tmp_path / name), "--to", "openvino"]) == 1

    assert message in capsys.readouterr().err


SIDE = st.integers(1, 5000)


@given(SIDE, SIDE, st.sampled_from([1, 16, 32]))
def test_odd_sizes_are_compared_too(height: int, width: int, multiple: int) -> None:
    largest, *smaller = compared_sizes(metadata(resize=ResizePolicy(size=320, multiple=multiple)), (height, width))

    assert all(side % multiple == 0 for side in largest)
    assert all(side % 2 == 1 and side > 0 for size in smaller for side in size)


@given(SIDE, SIDE)
def test_a_network_of_smp_is_compared_at_multiples_of_its_output_stride(height: int, width: int) -> None:
    model = ModelConfig(architecture="smp_deeplabv3plus", backbone="mobilenet_v2", num_classes=3, output_stride=16)

    sizes = compared_sizes(metadata(model=model, resize=ResizePolicy(size=320, multiple=32)), (height, width))

    assert all(side % 16 == 0 and side > 0 for size in sizes for side in size)

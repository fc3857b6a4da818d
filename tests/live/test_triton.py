"""Exported models on a real Triton Inference Server, if one with its ONNX Runtime backend is installed."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import requests

from handler.geometry import DecodedImage, network_size
from handler.labels import Labels
from handler.masks.label_map import make_label_map
from handler.network.engines import reference_engine
from handler.network.engines.base import EngineOptions, ModelFiles, Pixels
from handler.network.tiling import WHOLE_IMAGE, resize_tile
from model import ModelConfig, ResizePolicy
from model.palette import voc_palette
from scripts.export.__main__ import main
from scripts.export.comparison import MIN_EQUAL
from scripts.image_files import read_image
from scripts.package import MODELS
from tests.live import client_programs
from tests.live.client import TIMEOUT_S
from tests.support import write_checkpoint

CLIENTS = Path(sys.prefix) / "clients"
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(which("tritonserver") is None, reason="tritonserver is not on the PATH"),
    pytest.mark.skipif(not find_spec("onnx"), reason="the extra export is missing"),
    pytest.mark.skipif(not (CLIENTS / ".installed").exists(), reason="tritonclient is not installed; `make test` does"),
]
ODD_NAMES = ("road, wet", 'a "quoted" \\name', "two\nlines", "Straße", "人", "tree 🌳", "</script>")
#: In addition to this repository's models: random ResNets with odd class names, or with more than 256 classes.
RANDOM = {"odd": ODD_NAMES, "many": tuple(f"class {index}" for index in range(300))}
NAMES = [*MODELS, *RANDOM]


@dataclass(frozen=True)
class Answers:
    """Triton's description of each model, and the folder of the pixels sent and the outputs received."""

    descriptions: dict[str, Any]
    folder: Path
    log: str

    def outputs(self, model: str, name: str) -> tuple[Pixels, dict[str, npt.NDArray[Any]]]:
        stem = self.folder / f"{model}.{name}"
        return np.load(f"{stem}.npy"), dict(np.load(f"{stem}.npz"))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return MODELS | {
        name: write_checkpoint(
            folder / f"{name}.safetensors",
            model=ModelConfig(backbone="resnet50", num_classes=len(classes), output_stride=16),
            classes=classes,
            palette=voc_palette(len(classes)),
            resize=ResizePolicy(side="long", size=96),
        )
        for name, classes in RANDOM.items()
    }


@pytest.fixture(scope="module")
def answers(checkpoints: dict[str, Path], photos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Export all models to one repository, serve it, and call each with batches of several sizes."""
    folder = tmp_path_factory.mktemp("triton")
    for name, path in checkpoints.items():
        assert main([str(path), "--to", "triton", "--out", str(folder / "models"), "--name", name]) == 0
        for kind, pixels in batches(path, photos["chelsea"]).items():
            np.save(folder / f"{name}.{kind}.npy", pixels)
    with triton(folder) as addresses:
        program = Path(client_programs.__file__).with_name("triton_export.py")
        command = [str(CLIENTS / "bin" / "python"), str(program), *addresses, str(folder)]
        descriptions = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=10 * TIMEOUT_S).stdout)
    return Answers(descriptions, folder, (folder / "log").read_text())


def batches(checkpoint: Path, photo: Path) -> dict[str, Pixels]:
    """Return batches of uint8 RGB B×H×W×3: a photograph at the model's size, with odd sides, and eight small pictures."""
    image = DecodedImage.from_pixels(read_image(photo))
    usual = resize_tile(image, WHOLE_IMAGE, network_size(ModelFiles(checkpoint).metadata().resize, image.size))
    odd, small = (resize_tile(image, WHOLE_IMAGE, size) for size in ((75, 133), (64, 48)))
    return {
        "usual": np.stack([usual, usual[:, ::-1]]),
        "odd": odd[None],
        "batch": np.stack([np.roll(small, 7 * shift, axis=1) for shift in range(8)]),
    }


@contextmanager
def triton(folder: Path) -> Iterator[list[str]]:
    """Serve folder/models on loopback; yield the addresses for HTTP and gRPC. The server logs to folder/log."""
    with socket.create_server(("127.0.0.1", 0)) as http_socket, socket.create_server(("127.0.0.1", 0)) as grpc_socket:
        ports = {"http": http_socket.getsockname()[1], "grpc": grpc_socket.getsockname()[1]}
    command = ["tritonserver", f"--model-repository={folder / 'models'}", "--model-control-mode=explicit", "--load-model=*"]
    command += [*(f"--{protocol}-port={port}" for protocol, port in ports.items()), "--allow-metrics=false"]
    command += [f"--{protocol}-address=127.0.0.1" for protocol in ports]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _await_models(f"http://127.0.0.1:{ports['http']}", process, folder / "log")
        yield [f"127.0.0.1:{port}" for port in ports.values()]
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def _await_models(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 2 * TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            if "unable to find backend library for backend 'onnxruntime'" in log.read_text():
                pytest.skip("this tritonserver has no onnxruntime backend")
            raise AssertionError(log.read_text())
        try:
            if requests.get(f"{url}/v2/health/ready", timeout=TIMEOUT_S).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize("kind", ["usual", "odd", "batch"])
@pytest.mark.parametrize("model", NAMES)
def test_labels_match_those_of_torch(answers: Answers, checkpoints: dict[str, Path], model: str, kind: str) -> None:
    pixels, outputs = answers.outputs(model, kind)
    files = ModelFiles(checkpoints[model])
    dtype = Labels.from_metadata(files.metadata()).dtype
    logits = reference_engine(files, EngineOptions(precision="float32")).infer(pixels)
    expected = np.stack([make_label_map(scores, pixels.shape[1:3], dtype) for scores in logits])

    assert outputs["logits"].shape == logits.shape
    assert (outputs["label_map"] == expected).mean() >= MIN_EQUAL
    for name in ("label_map", "logits"):
        assert (outputs[name] == outputs[f"{name}_grpc"]).all()


@pytest.mark.parametrize("model", NAMES)
def test_concurrent_images_run_as_one_batch(answers: Answers, model: str) -> None:
    _, outputs = answers.outputs(model, "batch")

    together = np.load(answers.folder / f"{model}.together.npy")
    assert (together == outputs["label_map"]).mean() >= MIN_EQUAL
    assert 8 in answers.descriptions[model]["batches"]


@pytest.mark.parametrize("model", NAMES)
def test_model_metadata_describes_classes_and_tensors(answers: Answers, checkpoints: dict[str, Path], model: str) -> None:
    description, metadata = answers.descriptions[model], ModelFiles(checkpoints[model]).metadata()
    parameters = description["parameters"]

    assert json.loads(parameters["classes"]) == list(metadata.classes)
    assert json.loads(parameters["palette"]) == [list(colour) for colour in metadata.palette]
    assert ResizePolicy.model_validate_json(parameters["resize"]) == metadata.resize
    assert parameters["provenance"] == metadata.provenance
    assert description["tensors"] == {
        "image": ["UINT8", [-1, -1, -1, 3]],
        "label_map": ["INT32" if len(metadata.classes) > 256 else "UINT8", [-1, -1, -1]],
        "logits": ["FP32", [-1, len(metadata.classes), -1, -1]],
    }


def test_triton_loads_the_repository_without_warnings(answers: Answers) -> None:
    warnings = re.findall(r"^(?:[WE]\d{4} |.*\[[WE]:onnxruntime).*", answers.log, re.MULTILINE)

    # It warns if the machine has no GPU.
    assert [line for line in warnings if "onnxruntime" in line or any(f"'{name}'" in line for name in NAMES)] == []

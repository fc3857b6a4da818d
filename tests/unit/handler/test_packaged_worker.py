"""What a process loads that serves a packaged graph, as a worker on a CPU does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from handler.network.engines.archive import GRAPH
from handler.network.engines.openvino_conversion import convert
from handler.network.engines.openvino_graph import write_graph
from model import load_checkpoint
from tests.support import ROOT, encode, noise, write_checkpoint

#: Libraries for building, converting, explaining and training networks, and tracing polygons: an answer as JSON needs none.
UNUSED = (
    "openvino.tools.ovc", "openvino_telemetry", "torch", "timm", "torchvision", "sympy", "segmentation_models_pytorch",
    "captum", "matplotlib", "rasterio", "shapely", "scipy", "pandas", "skimage", "requests",
)  # fmt: skip

SERVE_ONE_IMAGE = """
import json, sys
from pathlib import Path
from handler.application import Application, Call
from handler.archive import ModelArchive
from handler.options import ModelIdentity
from handler.settings import HandlerSettings

folder = Path(sys.argv[1])
settings = HandlerSettings(engine="openvino")
archive = ModelArchive(folder, folder / "model.safetensors", ModelIdentity("pets", "1.0"), settings, batch_size=2)
application = Application.load(archive)
(reply,) = application.answer([Call({"body": (folder / "image.png").read_bytes()})])
print(json.dumps({"answer": json.loads(reply.body), "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of an extracted archive that a pipeline reads, and an image."""
    folder = tmp_path_factory.mktemp("archive")
    checkpoint = write_checkpoint(folder / "model.safetensors")
    write_graph(convert(load_checkpoint(checkpoint)), folder / GRAPH)
    (folder / "image.png").write_bytes(encode(noise(48, 64)))
    return folder


@pytest.mark.slow
def test_it_imports_no_library_that_its_answers_do_not_need(archive: Path) -> None:
    command = [sys.executable, "-c", SERVE_ONE_IMAGE, str(archive)]

    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout

    outcome = json.loads(output)
    assert outcome["answer"]["model"] == "pets"
    assert sorted(set(UNUSED) & set(outcome["modules"])) == []

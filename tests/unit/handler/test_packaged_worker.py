"""Modules loaded by a process that serves a packaged graph, as a worker on a CPU does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, encode, noise

#: Libraries for building, converting, explaining and training networks and tracing polygons, which a JSON answer never needs.
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
(reply,) = application.answer([Call({"body": Path(sys.argv[2]).read_bytes()})])
print(json.dumps({"answer": json.loads(reply.body), "modules": sorted(sys.modules)}))
"""


@pytest.mark.slow
def test_a_worker_imports_no_library_that_its_answers_do_not_need(converted: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(encode(noise(48, 64)))
    command = [sys.executable, "-c", SERVE_ONE_IMAGE, str(converted), str(image)]

    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout

    outcome = json.loads(output)
    assert outcome["answer"]["model"] == "pets"
    assert sorted(set(UNUSED) & set(outcome["modules"])) == []

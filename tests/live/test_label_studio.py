"""The backend for Label Studio as a program, called as Label Studio calls it, over the live server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from rasterio import features

from scripts.server import Ports, Server
from tests.live.client import TIMEOUT_S, mask, post
from tests.local_server import running
from tests.support import ROOT, encode

pytest.importorskip("starlette")

TOKEN = "0123456789abcdef"  # noqa: S105, used only by this test
CAT, PERSON = 8, 15
CLASSES = {"Cat": CAT, "human": PERSON}


def sdk(module: str) -> Any:
    """Import a module of Label Studio's SDK, but not while tests are collected, because it takes seconds in every process."""
    return pytest.importorskip(f"label_studio_sdk.{module}")


def config(tag: str) -> str:
    """Return a configuration with different names, spellings and order, and a label that the model does not have."""
    labels = '<Label value="unicorn"/><Label value="human" predicted_values="person"/><Label value="Cat"/>'
    return f'<View><{tag} name="drawn" toName="picture">{labels}</{tag}><Image name="picture" value="$url"/></View>'


@pytest.fixture(scope="module")
def uploads(photos: dict[str, Path]) -> dict[str, bytes]:
    """Return uploaded files by their paths in Label Studio: the photographs, lossless, and a broken one."""
    files = {f"/data/upload/1/{name}.png": encode(Image.open(photo).convert("RGB")) for name, photo in photos.items()}
    return {**files, "/data/upload/1/broken.png": b"no image"}


@pytest.fixture(scope="module")
def label_studio(uploads: dict[str, bytes]) -> Iterator[str]:
    """Serve the uploads to clients with the token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = uploads.get(self.path, b"")
            self.send_response(200 if body and self.headers["Authorization"] == f"Token {TOKEN}" else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(scope="module")
def backend(server: Server, label_studio: str) -> Iterator[str]:
    """Run the program; yield its address once it reports that it is listening."""
    port = Ports.free().inference
    command = [sys.executable, "-u", "-m", "scripts.label_studio_backend", "--url", server.url, "--port", str(port)]
    with subprocess.Popen(
        [*command, "--label-studio-url", label_studio],
        cwd=ROOT,
        env={**os.environ, "LABEL_STUDIO_API_KEY": TOKEN},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"deeplabv3 1.0 for Label Studio at http://127.0.0.1:{port}\n"
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait(TIMEOUT_S)


def predict(backend: str, paths: list[str], label_config: str) -> list[dict[str, Any]]:
    """Call the routes in the order of Label Studio's connector; return predictions that its SDK has validated."""
    tasks = [{"id": number, "data": {"url": path}} for number, path in enumerate(paths, start=1)]
    assert requests.get(f"{backend}/health", timeout=TIMEOUT_S).json()["status"] == "UP"
    setup = {"project": "1.1700000000", "schema": label_config, "hostname": "http://localhost:8080", "access_token": "unused"}
    version = requests.post(f"{backend}/setup", json=setup, timeout=TIMEOUT_S).json()["model_version"]
    call = {"tasks": tasks, "project": "1.1700000000", "label_config": label_config, "params": {"context": None}}
    response = requests.post(f"{backend}/predict", json=call, timeout=TIMEOUT_S)
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["results"]
    interface = sdk("label_interface").LabelInterface(label_config)
    for prediction in predictions:
        assert interface.validate_prediction(prediction, return_errors=True) == []
        assert sdk("label_interface.objects").PredictionValue(**prediction).model_dump() == prediction
        assert prediction["model_version"] == version == "deeplabv3 1.0"
    return predictions


def expected_masks(server: Server, image: bytes) -> dict[str, Any]:
    indices = mask(post(server, image, {"Accept": "image/png"}))
    return {label: indices == index for label, index in CLASSES.items() if (indices == index).any()}


def test_brush_masks_equal_the_servers_masks(backend: str, server: Server, uploads: dict[str, bytes]) -> None:
    paths = [path for path in uploads if "broken" not in path]

    for path, prediction in zip(paths, predict(backend, paths, config("BrushLabels")), strict=True):
        truth = expected_masks(server, uploads[path])
        assert truth
        assert [region["value"]["brushlabels"] for region in prediction["result"]] == [[label] for label in truth]
        for region, label_mask in zip(prediction["result"], truth.values(), strict=True):
            pixels = sdk("converter.brush").decode_rle(region["value"]["rle"]).reshape(*label_mask.shape, 4)
            np.testing.assert_array_equal(pixels[:, :, 3] == 255, label_mask)


def test_polygons_cover_the_servers_mask(backend: str, server: Server, uploads: dict[str, bytes]) -> None:
    path = "/data/upload/1/chelsea.png"

    (prediction,) = predict(backend, [path], config("PolygonLabels"))

    truth = expected_masks(server, uploads[path])["Cat"]
    coverage = np.zeros(truth.shape, int)
    for region in prediction["result"]:
        assert region["value"]["polygonlabels"] == ["Cat"]
        points = np.rint(np.array(region["value"]["points"]) * truth.shape[::-1] / 100).tolist()
        coverage += features.rasterize([{"type": "Polygon", "coordinates": [[*points, points[0]]]}], out_shape=truth.shape)
    np.testing.assert_array_equal(coverage, truth)


def test_a_broken_image_does_not_stop_the_rest(backend: str) -> None:
    paths = [f"/data/upload/1/{name}.png" for name in ("chelsea", "broken", "missing", "astronaut")]

    predictions = predict(backend, paths, config("BrushLabels"))

    labels = [[region["value"]["brushlabels"][0] for region in prediction["result"]] for prediction in predictions]
    assert labels == [["Cat"], [], [], ["human"]]


def test_label_studios_converter_exports_the_masks(
    backend: str, server: Server, uploads: dict[str, bytes], tmp_path: Path
) -> None:
    path = "/data/upload/1/chelsea.png"
    (prediction,) = predict(backend, [path], config("BrushLabels"))
    annotation = {"id": 1, "completed_by": {"id": 1}, "result": prediction["result"], "was_cancelled": False}
    task = tmp_path / "tasks.json"
    task.write_text(json.dumps([{"id": 1, "data": {"url": path}, "annotations": [annotation]}]))

    export = sdk("converter").Converter(config("BrushLabels"), str(tmp_path), download_resources=False)
    (tmp_path / "out").mkdir()
    export.convert(str(task), str(tmp_path / "out"), "BRUSH_TO_PNG", is_dir=False)

    (picture,) = (tmp_path / "out").glob("*.png")
    np.testing.assert_array_equal(np.asarray(Image.open(picture)) > 0, expected_masks(server, uploads[path])["Cat"])

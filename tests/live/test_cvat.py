"""CVAT tasks annotated by cvat-cli and the SDK's driver."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rasterio import features

from scripts import cvat_function
from scripts.server import Ports, Server
from tests.live.client import mask, post
from tests.live.cvat_server import TASK_ID, CvatTask, cvat_server
from tests.support import encode

cli = pytest.importorskip("cvat_cli.__main__")
masks = pytest.importorskip("cvat_sdk.masks")

Annotate = Callable[..., int]
CAT, PERSON = 8, 15


@pytest.fixture
def task(server: Server, photos: dict[str, Path]) -> CvatTask:
    """Return a task with the labels of `scripts.cvat_function`, in another order and with different ids."""
    names = [label["name"] for label in cvat_function.create(url=server.url).labels]
    labels = [
        {
            "id": 70 + number,
            "name": name,
            "color": "#000000",
            "type": "any",
            "attributes": [],
            "sublabels": [],
            "has_parent": False,
        }
        for number, name in enumerate(reversed(names))
    ]
    images = {f"{name}.png": encode(Image.open(photo).convert("RGB")) for name, photo in photos.items()}
    return CvatTask(images, labels)


@pytest.fixture
def annotate(server: Server, task: CvatTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Annotate]:
    """Run cvat-cli's `task auto-annotate` with further arguments; return its exit code."""
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "secret")
    for kind in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    with cvat_server(task) as port:
        target = ["--server-host", "http://127.0.0.1", "--server-port", str(port), "task", "auto-annotate", str(TASK_ID)]

        def run(*arguments: str, url: str = server.url) -> int:
            code: int = cli.main([*target, "--function-module", "scripts.cvat_function", "-p", f"url=str:{url}", *arguments])
            return code

        yield run
    # Each run adds one, for the current standard error.
    cli.logger.handlers.clear()


def read_annotations(task: CvatTask) -> list[tuple[int, str, dict[str, Any]]]:
    """Return frame, label and shape of each annotation that was written."""
    (update,) = task.annotations
    names = {label["id"]: label["name"] for label in task.labels}
    return [(shape["frame"], names[shape["label_id"]], shape) for shape in update["shapes"]]


def expected_masks(server: Server, task: CvatTask) -> dict[tuple[int, str], Any]:
    """Return the masks of the server's PNG by frame and label."""
    masks_by_frame = {}
    for frame, image in enumerate(task.images.values()):
        indices = mask(post(server, image, {"Accept": "image/png"}))
        for index, name in ((CAT, "cat"), (PERSON, "person")):
            if (indices == index).any():
                masks_by_frame[frame, name] = indices == index
    return masks_by_frame


def test_mask_annotations_equal_the_servers_masks(annotate: Annotate, server: Server, task: CvatTask) -> None:
    assert annotate() == 0

    truth = expected_masks(server, task)
    assert len(truth) == 2
    for frame, name, shape in read_annotations(task):
        photo = list(task.images.values())[frame]
        width, height = Image.open(io.BytesIO(photo)).size
        assert (shape["type"], shape["source"]) == ("mask", "auto")
        if (frame, name) in truth:
            decoded = masks.decode_mask(list(map(int, shape["points"])), image_width=width, image_height=height)
            np.testing.assert_array_equal(decoded, truth.pop((frame, name)))
    assert not truth


@pytest.mark.parametrize("arguments", [["--conv-mask-to-poly"], ["-p", "shape=str:polygon"]])
def test_polygon_annotations_cover_the_servers_masks(
    annotate: Annotate, server: Server, task: CvatTask, arguments: list[str]
) -> None:
    assert annotate("-p", "classes=str:cat,person", *arguments) == 0

    coverage = {key: np.zeros(truth.shape, int) for key, truth in expected_masks(server, task).items()}
    for frame, name, shape in read_annotations(task):
        assert shape["type"] == "polygon"
        points = np.array(shape["points"]).reshape(-1, 2).tolist()
        ring = {"type": "Polygon", "coordinates": [[*points, points[0]]]}
        coverage[frame, name] += features.rasterize([ring], out_shape=coverage[frame, name].shape)
    for key, truth in expected_masks(server, task).items():
        np.testing.assert_array_equal(coverage[key], truth)


def test_the_confidence_threshold_is_a_minimum_score(annotate: Annotate, task: CvatTask) -> None:
    assert annotate("--conf-threshold", "0.9") == 0

    scores = [shape["score"] for _, _, shape in read_annotations(task)]
    assert scores
    assert min(scores) >= 0.9


def test_a_refused_image_does_not_stop_the_rest(annotate: Annotate, task: CvatTask, capsys: pytest.CaptureFixture[str]) -> None:
    task.images = {"long.png": encode(Image.new("L", (70_000, 1))), **task.images}

    assert annotate() == 0

    assert {frame for frame, _, _ in read_annotations(task)} == {1, 2}
    assert "warning: long.png: answered 413: " in capsys.readouterr().err


def test_an_unreachable_server_is_reported_in_one_message(
    annotate: Annotate, task: CvatTask, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://127.0.0.1:{Ports.free().inference}/predictions/deeplabv3"

    assert annotate(url=url) == 1

    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
    assert message.startswith(f"{url}: no answer (")
    assert task.annotations == []


def test_an_unknown_option_is_reported_with_the_servers_message(annotate: Annotate, caplog: pytest.LogCaptureFixture) -> None:
    assert annotate("-p", "scalse=str:1") == 1

    assert "unknown option 'scalse', did you mean 'scales'?" in caplog.text


def test_an_archive_and_its_server_detect_the_same_shapes(
    server: Server, served_archive: Path, photos: dict[str, Path]
) -> None:
    class Context:
        frame_name, conf_threshold, conv_mask_to_poly = "chelsea.jpg", None, False

    image = Image.open(photos["chelsea"])
    local, remote = cvat_function.create(archive=str(served_archive)), cvat_function.create(url=server.url)

    assert local.labels == remote.labels
    assert local.detect(Context, image) == remote.detect(Context, image)


def test_labels_are_printed_for_cvats_label_editor(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert cvat_function.main(["--url", server.url, "--classes", "cat,person", "--shape", "polygon"]) == 0

    assert json.loads(capsys.readouterr().out) == [
        {"name": "cat", "color": "#400000", "type": "polygon", "attributes": []},
        {"name": "person", "color": "#c08080", "type": "polygon", "attributes": []},
    ]

"""The function's requests to a server, and its use of the answers. tests/live/test_cvat.py runs it with cvat-cli."""

import io
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from urllib3.exceptions import HTTPError

from scripts import cvat_function
from scripts.cvat_function import FunctionError, create, main
from tests.local_server import LocalServer, PostedForm, Reply, local_server

LABELS = [
    {"name": "cat", "id": 8, "color": "#400000", "type": "mask"},
    {"name": "dog", "id": 12, "color": "#400080", "type": "mask"},
]
SHAPE = {"type": "mask", "label_id": 8, "label": "cat", "frame": 0, "points": [0, 1, 0, 0, 0, 0], "score": 0.9}
SQUARE_WITH_HOLE = [[[0, 0], [3, 0], [3, 3], [0, 3], [0, 0]], [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]]


def reply(form: PostedForm) -> Reply:
    answer: dict[str, Any] = {"model": "m", "version": "1", "labels": LABELS, "shapes": [SHAPE]}
    if form.options["format"] == "json":
        cat = {"index": 8, "score": 0.9, "mask": {"polygons": [SQUARE_WITH_HOLE]}}
        answer = {"segments": [cat, {"index": 0, "score": 0.5, "mask": {"polygons": [[[[9, 9], [10, 9], [10, 10], [9, 9]]]]}}]}
    return Reply(body=json.dumps(answer).encode(), content_type="application/json")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server(reply) as running:
        yield running


def context(**changes: Any) -> Any:
    return SimpleNamespace(**{"frame_name": "a.jpg", "conf_threshold": None, "conv_mask_to_poly": False, **changes})


def picture(size: tuple[int, int] = (3, 2)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))


def last_image(server: LocalServer) -> Image.Image:
    return Image.open(io.BytesIO(server.forms[-1].image))


def test_options_and_threshold_are_sent_as_text(server: LocalServer) -> None:
    pytest.importorskip("cvat_sdk")
    function = create(server.url, header="Authorization: Bearer a:b", components=True, scales="0.5,1", tolerance=1.5)

    function.detect(context(conf_threshold=0.25), picture())

    options = {"components": "true", "scales": "0.5,1", "tolerance": "1.5", "format": "cvat"}
    assert [form.options for form in server.forms] == [options, {**options, "min_score": "0.25"}]
    assert {form.headers["Authorization"] for form in server.forms} == {"Bearer a:b"}


def test_the_spec_has_the_servers_labels_and_the_shapes_type(server: LocalServer) -> None:
    pytest.importorskip("cvat_sdk")

    for shape in ("mask", "polygon"):
        labels = create(server.url, shape=shape).spec.labels
        assert [(label.name, label.id, label.type) for label in labels] == [("cat", 8, shape), ("dog", 12, shape)]


def test_polygons_are_cut_at_their_holes_and_background_is_omitted(server: LocalServer) -> None:
    pytest.importorskip("cvat_sdk")

    shapes = create(server.url, shape="polygon").detect(context(), picture())

    assert {(shape.label_id, str(shape.type), shape.frame, shape.score) for shape in shapes} == {(8, "polygon", 0, 0.9)}
    corners = [np.array(shape.points).reshape(-1, 2) for shape in shapes]
    areas = [abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 for x, y in (points.T for points in corners)]
    assert sum(areas) == 8
    assert all((points[0] != points[-1]).any() for points in corners)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "CMYK", "I;16", "F"])
def test_pixels_of_any_mode_are_sent_in_stored_orientation(server: LocalServer, mode: str) -> None:
    pytest.importorskip("cvat_sdk")
    image = picture().convert("L").convert(mode) if mode in ("I;16", "F") else picture().convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # A quarter turn, which CVAT's coordinates ignore.
    image.info["exif"] = exif.tobytes()

    create(server.url).detect(context(), image)

    assert (last_image(server).size, last_image(server).mode, last_image(server).format) == ((3, 2), "RGB", "PNG")
    if mode == "RGB":
        np.testing.assert_array_equal(np.asarray(last_image(server)), np.asarray(image))
    assert "exif" in image.info


def test_an_image_that_is_too_large_as_a_png_is_sent_as_a_jpeg(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cvat_sdk")
    monkeypatch.setattr(cvat_function, "_MAX_PNG_BYTES", 10_000)
    function = create(server.url)

    function.detect(context(), picture((100, 100)))
    assert (last_image(server).format, last_image(server).size) == ("JPEG", (100, 100))
    function.detect(context(), picture((50, 50)))
    assert last_image(server).format == "PNG"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"url": "http://a/b", "archive": "c.mar"}, "url and archive are both given; give one"),
        ({"url": "a/b"}, "url: 'a/b' must be a URL such as http"),
        ({"url": 5}, "url: '5' must be a URL such as http"),
        ({"archive": "nix.mar"}, "archive: 'nix.mar': no such file"),
        ({"shape": "poly"}, "shape: unknown name 'poly', did you mean 'polygon'?"),
        ({"header": "Bearer"}, "header: 'Bearer': must be 'NAME: VALUE'"),
        ({"Format": "coco"}, "Format is set by this function; use shape"),
        ({"min_score": 0.5}, "min_score is set by this function; use --conf-threshold"),
    ],
)
def test_an_invalid_parameter_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        create(**parameters)

    assert str(caught.value).startswith(message)
    # cvat-cli prints only the messages of these.
    assert isinstance(caught.value, HTTPError)


def test_a_server_that_fails_ends_the_task(server: LocalServer) -> None:
    pytest.importorskip("cvat_sdk")
    function = create(server.url)
    error = b'{"code":404,"type":"ModelNotFoundException","message":"no model"}'
    server.reply = lambda _: Reply(404, error, "application/json")

    with pytest.raises(FunctionError, match="answered 404: no model"):
        function.detect(context(), picture())


def test_a_model_of_an_older_release_must_be_packaged_again(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.reply = lambda _: Reply(body=b'{"shapes":[]}', content_type="application/json")

    assert main(["--url", server.url]) == 1

    assert capsys.readouterr().err == (
        "error: answers of the format 'cvat' have no labels: the model is from an older release; package it again\n"
    )


def test_labels_are_printed_for_cvats_editor(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", server.url, "--shape", "polygon"]) == 0

    assert json.loads(capsys.readouterr().out) == [
        {"name": label["name"], "color": label["color"], "type": "polygon", "attributes": []} for label in LABELS
    ]


@pytest.mark.parametrize("options", ["--shape poly", "--url a", "--ulr http://a/b", "--url http://a --archive b"])
def test_invalid_options_exit_with_2(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options.split()) == 2
    assert capsys.readouterr().err.startswith("error: ")

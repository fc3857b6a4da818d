"""The routes as Label Studio's connector calls them, with a scripted segmentation server."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import requests

from scripts.client import Client
from scripts.server.ports import Ports
from tests.local_server import LocalServer, PostedForm, Reply, local_server

pytest.importorskip("defusedxml")
pytest.importorskip("starlette")
uvicorn = pytest.importorskip("uvicorn")

from scripts.label_studio_backend.__main__ import main  # noqa: E402, where its packages are installed
from scripts.label_studio_backend.app import build_app  # noqa: E402
from scripts.label_studio_backend.predictions import Predictor  # noqa: E402
from scripts.label_studio_backend.task_images import ImageSources, TaskImages  # noqa: E402

VERSION = "deeplabv3 1.0"
LABELS = [
    {"name": name, "id": number, "color": "#000000", "type": "mask"} for number, name in enumerate(("cat", "dog"), start=1)
]
REFUSED = Reply(400, b'{"code":400,"type":"InvalidImage","message":"not an image"}', "application/json")


def region(kind: str, label: str, score: float) -> dict[str, Any]:
    size = {"original_width": 2, "original_height": 1, "image_rotation": 0}
    value = {"format": "rle", "rle": [0], kind: [label]}
    names = {"id": "region1", "type": kind, "from_name": "label", "to_name": "image"}
    return {**names, **size, "value": value, "score": score}


def reply(form: PostedForm) -> Reply:
    """Answer like the segmentation server; the image's bytes are the name of its class."""
    if form.options["format"] == "cvat":
        answer: dict[str, Any] = {"model": "deeplabv3", "version": "1.0", "labels": LABELS, "shapes": []}
    elif form.image == b"broken":
        return REFUSED
    else:
        kind = {"labelstudio": "brushlabels", "labelstudio_polygons": "polygonlabels"}[form.options["format"]]
        regions = [region(kind, form.image.decode(), 0.9), region(kind, "sheep", 0.5)]
        answer = {"model_version": VERSION, "score": 0.8, "result": regions}
    return Reply(body=json.dumps(answer).encode(), content_type="application/json")


@pytest.fixture
def segmentation() -> Iterator[LocalServer]:
    with local_server(reply) as server:
        yield server


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve `app`; yield its address. The socket listens before the thread starts, so no wait is needed."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    sock = config.bind_socket()
    sock.listen()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


@contextmanager
def backend(url: str, **auth: str) -> Iterator[str]:
    client = Client(url, retries=0)
    predictor = Predictor(client, TaskImages(ImageSources()).fetch, {"scales": "0.5"}, jobs=2)
    with serving(build_app(predictor, client, **auth)) as address:
        yield address
    predictor.close()


@pytest.fixture
def address(segmentation: LocalServer) -> Iterator[str]:
    with backend(segmentation.url) as url:
        yield url


def config(*labels: str, tag: str = "BrushLabels") -> str:
    label_tags = "".join(f'<Label value="{label}"/>' for label in labels)
    return f'<View><Image name="img" value="$photo"/><{tag} name="mask" toName="img">{label_tags}</{tag}></View>'


def task(number: int, image: bytes) -> dict[str, Any]:
    return {"id": number, "data": {"photo": f"data:image/png;base64,{base64.b64encode(image).decode()}"}}


def predict(address: str, tasks: list[Any], label_config: str = config("Cat", "dog")) -> requests.Response:
    """Call the program as Label Studio's connector does."""
    call = {"tasks": tasks, "project": "1.1700000000", "label_config": label_config, "params": {"login": None, "context": None}}
    return requests.post(f"{address}/predict", json=call, timeout=30)


def test_a_healthy_backend_is_up(address: str) -> None:
    for path in ("/health", "/"):
        response = requests.get(address + path, timeout=30)
        assert (response.status_code, response.json()["status"]) == (200, "UP")


def test_setup_returns_the_version_of_the_model(address: str) -> None:
    call = {"project": "1.1700000000", "schema": config("Cat"), "hostname": "http://localhost:8080", "access_token": "x"}

    assert requests.post(f"{address}/setup", json=call, timeout=30).json() == {"model_version": VERSION}


def test_setup_refuses_a_project_without_a_class_of_the_model(address: str) -> None:
    response = requests.post(f"{address}/setup", json={"schema": config("Kat", "Hund")}, timeout=30)

    assert response.status_code == 400
    assert response.json()["error"] == (
        "no label of <BrushLabels name='mask'> is a class of the model: Kat, Hund; the classes are cat, dog"
    )


@pytest.mark.parametrize(("tag", "kind"), [("BrushLabels", "brushlabels"), ("PolygonLabels", "polygonlabels")])
def test_a_prediction_has_only_the_projects_names_and_labels(
    address: str, segmentation: LocalServer, tag: str, kind: str
) -> None:
    answer = predict(address, [task(7, b"cat")], config("Cat", tag=tag)).json()

    assert answer["model_version"] == VERSION
    (prediction,) = answer["results"]
    assert (prediction["model_version"], prediction["score"]) == (VERSION, 0.9)
    assert [(item["from_name"], item["to_name"], item["type"], item["value"][kind]) for item in prediction["result"]] == [
        ("mask", "img", kind, ["Cat"])
    ]
    assert {form.options["scales"] for form in segmentation.forms} == {"0.5"}


def test_regions_of_two_images_have_distinct_names_and_ids(address: str) -> None:
    tags = "".join(f'<Image name="{name}" value="${name}"/>' for name in "ab")
    label_config = f'<View>{tags}<BrushLabels name="mask" toName="a,b"><Label value="cat"/></BrushLabels></View>'
    uri = task(1, b"cat")["data"]["photo"]

    (prediction,) = predict(address, [{"id": 1, "data": {"a": uri, "b": uri}}], label_config).json()["results"]

    assert [(item["id"], item["to_name"]) for item in prediction["result"]] == [("region1", "a"), ("region2", "b")]


@pytest.mark.parametrize(
    "failing_task",
    [
        task(2, b"broken"),
        {"id": 2, "data": {"photo": "https://example.invalid/a.jpg"}},
        {"id": 2, "data": {"photo": 5}},
        {"id": 2, "data": {}},
        {"id": 2},
        {},
    ],
)
def test_a_task_that_fails_does_not_lose_the_others(
    address: str, failing_task: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    results = predict(address, [task(1, b"cat"), failing_task, task(3, b"dog")]).json()["results"]

    assert [[item["value"]["brushlabels"] for item in result["result"]] for result in results] == [[["Cat"]], [], [["dog"]]]
    assert {result["model_version"] for result in results} == {VERSION}
    assert f"warning: task {failing_task.get('id')}: " in capsys.readouterr().err


def test_a_call_whose_tasks_all_fail_gets_an_error(address: str) -> None:
    response = predict(address, [task(1, b"broken"), {"id": 2, "data": {}}])

    assert response.status_code == 422
    assert response.json()["error"] == (
        "none of 2 tasks could be answered: task 1: answered 400: not an image; "
        "task 2: its data have no image address in 'photo'"
    )


def test_every_route_reports_an_unreachable_server() -> None:
    url = f"http://127.0.0.1:{Ports.free().inference}/predictions/deeplabv3"
    with backend(url) as address:
        answers = [
            requests.get(f"{address}/health", timeout=30),
            requests.post(f"{address}/setup", json={"schema": config("cat")}, timeout=30),
            predict(address, [task(1, b"cat")]),
        ]

    assert [answer.status_code for answer in answers] == [503] * 3
    assert all(answer.json()["error"].startswith(f"{url}: no answer (") for answer in answers)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (b"", "the call is not JSON"),
        (b"[1]", "the call is not a JSON object"),
        (b"[" * 100_000, "the call is not JSON"),
        (b'{"tasks":[]}', "'label_config' should be the project's labelling configuration, as XML"),
        (b'{"tasks":{},"label_config":"<View/>"}', "'tasks' should be a list of tasks"),
        (b'{"tasks":[1],"label_config":"<View/>"}', "'tasks' should be a list of tasks"),
        (b'{"tasks":[{}],"label_config":"<View/>"}', "the labelling configuration has no <BrushLabels> or <PolygonLabels>"),
        (b'{"tasks":[{}],"label_config":"<View"}', "the labelling configuration is not XML"),
    ],
)
def test_a_malformed_call_is_refused(address: str, call: bytes, message: str) -> None:
    response = requests.post(f"{address}/predict", data=call, timeout=30)

    assert response.status_code == 400
    assert response.json()["error"].startswith(message)


def test_predictions_and_setup_follow_a_change_of_the_model(address: str, segmentation: LocalServer) -> None:
    def setup() -> str:
        version: str = requests.post(f"{address}/setup", json={"schema": config("cat")}, timeout=30).json()["model_version"]
        return version

    assert setup() == VERSION
    segmentation.reply = lambda form: replace(reply(form), body=reply(form).body.replace(b'1.0"', b'1.1"'))
    (prediction,) = predict(address, [task(1, b"cat")]).json()["results"]

    assert prediction["model_version"] == setup() == "deeplabv3 1.1"


def test_a_call_without_tasks_gets_no_predictions(address: str) -> None:
    assert predict(address, []).json()["results"] == []


def test_calls_need_the_password_if_a_user_is_configured(segmentation: LocalServer) -> None:
    with backend(segmentation.url, user="studio", password="sesame") as address:  # noqa: S106
        statuses = [
            requests.get(f"{address}/health", auth=auth, timeout=30).status_code
            for auth in (None, ("studio", "wrong"), ("other", "sesame"), ("studio", "sesame"))
        ]

    assert statuses == [401, 401, 401, 200]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label-studio-url", "studio:8080"], "'studio:8080' must be a URL such as http://127.0.0.1:8090"),
        (["--local-files", "/nix"], "'/nix': no such folder"),
        (["--option", "format=png"], "--option format: is chosen by the project's tags"),
        (["--port", "0"], "'0' must be a whole number, from 1 to 65535"),
        (["--allow-hosts", "a"], "unknown option --allow-hosts, did you mean '--allow-host'?"),
    ],
)
def test_invalid_options_are_reported(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2

    assert message in capsys.readouterr().err


def test_an_unreachable_server_is_reported_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{Ports.free().inference}/predictions/deeplabv3"

    assert main(["--url", url]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {url}: no answer (")


def test_an_address_in_use_is_reported(segmentation: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", segmentation.url, "--port", str(segmentation.server_port)]) == 1

    assert f"error: cannot listen at 127.0.0.1:{segmentation.server_port}: Address already in use" in capsys.readouterr().err

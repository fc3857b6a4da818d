import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from scripts.client import AnswerError, Client, ImageRefused, RequestRefused, ServerUnreachable
from scripts.server import Ports
from tests.local_server import PostedForm, Reply, local_server

PNG = "image/png"


def error_reply(status: int, kind: str, message: str) -> Reply:
    """Return an error as the handler answers it."""
    body = json.dumps({"code": status, "type": kind, "message": message}).encode()
    return Reply(status, body, "application/json")


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record how long the client would sleep, and do not sleep."""
    recorded: list[float] = []
    monkeypatch.setattr(time, "sleep", recorded.append)
    return recorded


def fail_once(failure: Reply) -> Callable[[PostedForm], Reply]:
    """Reply with the failure once, then with an answer."""
    return lambda form: failure if form.attempt == 1 else Reply()


def test_the_image_and_its_options_arrive() -> None:
    with local_server(lambda _: Reply()) as server:
        answer = Client(server.url).segment(b"\xff\xd8 image", {"format": "png", "classes": "猫,dog"}, PNG)

    assert answer == b"answer"
    (form,) = server.forms
    assert (form.path, form.image) == ("/predictions/deeplabv3", b"\xff\xd8 image")
    assert form.options == {"format": "png", "classes": "猫,dog"}


@pytest.mark.parametrize(
    "failure",
    [
        Reply(429),
        Reply(503),
        Reply(507),
        Reply(503, headers={"Retry-After": "0"}),
        Reply(reset=True),
        Reply(cut=3),
        Reply(cut=0),
    ],
    ids=["too many", "queue full", "no memory", "retry now", "reset", "cut off half way", "cut off before the body"],
)
def test_a_transient_failure_is_retried(failure: Reply) -> None:
    with local_server(fail_once(failure)) as server:
        assert Client(server.url).segment(b"image", {}, PNG) == b"answer"

    assert len(server.forms) == 2


def test_an_image_whose_worker_died_is_sent_once_more() -> None:
    died = error_reply(500, "InternalServerException", "Worker died.")
    with local_server(fail_once(died)) as server:
        assert Client(server.url).segment(b"image", {}, PNG) == b"answer"

    assert len(server.forms) == 2


@pytest.mark.parametrize(
    ("kind", "message", "attempts"),
    [("InternalServerException", "Worker died.", 2), ("WorkerDied", "tried twice", 1), ("EngineFault", "it failed.", 1)],
)
def test_an_image_that_kills_workers_fails(kind: str, message: str, attempts: int) -> None:
    reply = error_reply(500, kind, message)
    with local_server(lambda _: reply) as server, pytest.raises(ImageRefused, match=message.rstrip(".")):
        Client(server.url).segment(b"image", {}, PNG)

    assert len(server.forms) == attempts


def test_a_lost_request_is_sent_again() -> None:
    release = Event()

    def reply(form: PostedForm) -> Reply:
        if form.attempt == 1:
            release.wait(30)
        return Reply()

    with local_server(reply) as server:
        assert Client(server.url, timeout_s=0.2).segment(b"image", {}, PNG) == b"answer"
        release.set()


def test_a_request_that_is_lost_twice_fails() -> None:
    release = Event()

    def reply(form: PostedForm) -> Reply:
        if form.attempt == 2:
            return Reply(503)
        release.wait(30)
        return Reply()

    with local_server(reply) as server:
        with pytest.raises(AnswerError, match=r"^no byte within 0\.2 s$"):
            Client(server.url, timeout_s=0.2).segment(b"image", {}, PNG)
        release.set()

    assert len(server.forms) == 3


def test_reset_connections_are_retried_more_often_than_late_answers() -> None:
    with local_server(lambda form: Reply() if form.attempt == 3 else Reply(reset=True)) as server:
        assert Client(server.url).segment(b"image", {}, PNG) == b"answer"


def test_retry_after_sets_the_pause(sleeps: list[float]) -> None:
    with local_server(fail_once(Reply(503, headers={"Retry-After": "7"}))) as server:
        Client(server.url).segment(b"image", {}, PNG)

    assert sleeps == [7]


@pytest.mark.parametrize("status", [400, 413, 415, 500])
def test_any_other_error_is_final(status: int) -> None:
    with local_server(lambda _: error_reply(status, "Fault", "no good")) as server, pytest.raises(ImageRefused) as caught:
        Client(server.url).segment(b"image", {}, PNG)

    assert str(caught.value) == f"answered {status}: no good"
    assert not caught.value.affects_every_image
    assert len(server.forms) == 1


def test_retries_are_limited() -> None:
    with local_server(lambda _: Reply(503, b"busy")) as server, pytest.raises(ImageRefused, match=r"^answered 503: busy$"):
        Client(server.url, retries=1).segment(b"image", {}, PNG)

    assert len(server.forms) == 2


def test_a_connection_that_is_always_reset_is_reported() -> None:
    with local_server(lambda _: Reply(reset=True)) as server, pytest.raises(AnswerError, match="reset by peer"):
        Client(server.url, retries=1).segment(b"image", {}, PNG)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (error_reply(400, "InvalidOption", "unknown option 'colour'"), "answered 400: unknown option 'colour'"),
        (error_reply(400, "InvalidKeyException", "Token Authorization failed."), "answered 400: Token Authorization failed."),
        (error_reply(404, "ModelNotFoundException", "Model not found: x"), "answered 404: Model not found: x"),
        (Reply(401, b""), "answered 401"),
        (Reply(403, b"<h1>no</h1>\n"), "answered 403: <h1>no</h1>"),
        (
            Reply(301, b"", headers={"Location": "https://elsewhere.example/"}),
            "answered 301: moved to https://elsewhere.example/",
        ),
        (Reply(content_type="text/html; charset=utf-8"), "answered text/html; charset=utf-8, should be image/png"),
    ],
)
def test_errors_that_affect_every_image_are_distinguished(reply: Reply, message: str) -> None:
    with local_server(lambda _: reply) as server, pytest.raises(RequestRefused) as caught:
        Client(server.url).segment(b"image", {}, PNG)

    assert str(caught.value) == f"{server.url}: {message}"
    assert caught.value.affects_every_image


def test_a_content_type_may_have_parameters() -> None:
    with local_server(lambda _: Reply(content_type="application/json; charset=utf-8")) as server:
        assert Client(server.url).segment(b"image", {}, "application/json") == b"answer"


def test_headers_are_sent_along() -> None:
    with local_server(lambda _: Reply()) as server:
        Client(server.url, headers={"Authorization": "Bearer key"}).segment(b"image", {}, PNG)

    assert server.forms[0].headers["Authorization"] == "Bearer key"


def test_name_and_password_in_the_url_are_sent_along() -> None:
    with local_server(lambda _: Reply()) as server:
        Client(server.url.replace("http://", "http://me:secret@")).segment(b"image", {}, PNG)

    assert server.forms[0].headers["Authorization"] == "Basic bWU6c2VjcmV0"


def test_several_threads_may_send_requests_at_once() -> None:
    with local_server(lambda form: Reply(body=form.image)) as server, ThreadPoolExecutor(4) as pool:
        client = Client(server.url, connections=4)
        images = [str(number).encode() for number in range(100)]

        assert list(pool.map(lambda image: client.segment(image, {}, PNG), images)) == images


def test_an_unreachable_server_is_reported_without_a_retry(sleeps: list[float]) -> None:
    client = Client(f"http://127.0.0.1:{Ports.free().inference}/predictions/deeplabv3")

    with pytest.raises(ServerUnreachable, match=r"no answer .*Connection refused.*`make serve`"):
        client.require_server()

    assert sleeps == []


def test_a_server_that_stopped_is_unreachable() -> None:
    with pytest.raises(ServerUnreachable, match="Connection refused"):
        Client(f"http://127.0.0.1:{Ports.free().inference}/", retries=1).segment(b"image", {}, PNG)


def test_any_answer_proves_that_a_server_is_running() -> None:
    with local_server(lambda _: Reply()) as server:
        Client(server.url).require_server()


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with local_server(lambda _: Reply()) as proxy:
        monkeypatch.setenv(
            "http_proxy", proxy.url.removesuffix("/predictions/deeplabv3").replace("http://", "http://me:secret@")
        )
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)

        assert Client("http://segment.example/predictions/deeplabv3").segment(b"image", {}, PNG) == b"answer"

    (form,) = proxy.forms
    assert form.path == "http://segment.example/predictions/deeplabv3"
    assert form.headers["Proxy-Authorization"] == "Basic bWU6c2VjcmV0"

"""The service without a server: calls in, replies out."""

import base64
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handler.application import Application, Call
from handler.archive import ModelArchive
from handler.network.engines import Engine, Logits, Pixels
from handler.network.views import NonFiniteLogits
from handler.options import ModelIdentity
from handler.request.protocols import Reply
from handler.settings import HandlerSettings
from tests.engines import ColourEngine, MirrorEngine, build_pipeline
from tests.support import encode, noise, write_checkpoint

PHOTO = encode(noise(20, 30))
WHITE = encode(np.full((20, 30, 3), 255, np.uint8))


class PoisonableEngine(ColourEngine):
    """An engine that fails only on a white image."""

    def logits(self, pixels: Pixels) -> Logits:
        if pixels.min() == 255:
            raise RuntimeError("out of memory")
        return super().logits(pixels)


class DyingEngine(ColourEngine):
    """An engine that works until `dead` is set."""

    dead = False

    def logits(self, pixels: Pixels) -> Logits:
        if self.dead:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().logits(pixels)


class OverflowingEngine(ColourEngine):
    """An engine with infinite logits for a white image, and for every image once it is broken."""

    broken = False

    def logits(self, pixels: Pixels) -> Logits:
        logits = super().logits(pixels)
        return np.full_like(logits, np.inf) if self.broken or pixels.min() == 255 else logits


def application(engine: Engine, folder: Path = Path(), **settings: Any) -> Application:
    archive = ModelArchive(folder, folder / "model.safetensors", ModelIdentity("m", "1"), HandlerSettings(**settings))
    return Application(archive, build_pipeline(engine))


def answer_statuses(application: Application, *calls: Call) -> list[int]:
    """Return the statuses of the replies."""
    return [reply.error.status if reply.error else 200 for reply in application.answer(calls)]


def test_each_call_has_its_own_reply() -> None:
    replies = application(MirrorEngine()).answer(
        [
            Call({"body": PHOTO}),
            Call({"body": b"broken"}),
            Call({"data": PHOTO, "format": b"png"}),
            Call({"body": PHOTO}, {"Accept": "image/jpeg"}),
            Call({"body": PHOTO}, format="npz"),
        ]
    )

    assert [reply.content_type for reply in replies] == [
        "application/json", "application/json", "image/png", "image/jpeg", "application/x-npz",
    ]  # fmt: skip
    assert [reply.error is None for reply in replies] == [True, False, True, True, True]


def test_only_the_action_requests_an_explanation() -> None:
    service = application(ColourEngine())

    prediction, explanation = service.answer(
        [Call({"body": PHOTO}, {"explain": "True", "describe": "True"}), Call({"body": PHOTO}, action="explain")]
    )

    assert json.loads(prediction.body)["model"] == "m"
    assert explanation.content_type == "image/png"


def test_a_description_needs_no_image(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model.safetensors")

    (reply,) = application(MirrorEngine(), tmp_path).answer([Call({}, action="describe")])

    assert json.loads(reply.body)["classes"] == ["background", "cat", "dog"]


def test_an_internal_error_names_the_request_and_logs_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    (reply,) = application(PoisonableEngine()).answer([Call({"body": WHITE}, request_id="r-7")])

    message = json.loads(reply.body)["message"]
    assert reply.error is not None
    assert reply.error.status == 500
    assert "r-7" in message
    assert "out of memory" not in message
    assert "out of memory" in caplog.text


def test_a_request_that_breaks_the_engine_does_not_end_the_worker() -> None:
    service = application(PoisonableEngine())

    for _ in range(10):
        assert answer_statuses(service, Call({"body": WHITE})) == [500]

    assert not service.has_failed
    assert answer_statuses(service, Call({"body": PHOTO})) == [200]


def test_an_engine_that_fails_on_a_blank_image_too_has_failed() -> None:
    engine = DyingEngine()
    service = application(engine)
    assert answer_statuses(service, Call({"body": PHOTO})) == [200]

    engine.dead = True
    statuses = [answer_statuses(service, Call({"body": PHOTO}))[0] for _ in range(3)]

    assert statuses == [500] * 3
    assert service.has_failed


def test_a_network_whose_logits_are_not_finite_has_failed_at_once() -> None:
    engine = OverflowingEngine()
    service = application(engine)
    assert answer_statuses(service, Call({"body": PHOTO})) == [200]

    engine.broken = True

    assert answer_statuses(service, Call({"body": PHOTO})) == [500]
    assert "not finite" in str(service.failure)


def test_a_network_whose_logits_are_not_finite_does_not_start() -> None:
    engine = OverflowingEngine()
    engine.broken = True

    with pytest.raises(NonFiniteLogits, match="test in float32 gives logits that are not finite"):
        build_pipeline(engine).warm_up()


def test_an_image_whose_logits_are_not_finite_does_not_end_the_worker() -> None:
    service = application(OverflowingEngine())

    assert answer_statuses(service, *[Call({"body": WHITE})] * 10) == [500] * 10

    assert service.failure is None
    assert answer_statuses(service, Call({"body": PHOTO})) == [200]


def test_an_engine_that_fails_20_times_in_a_row_has_failed_even_if_it_passes_the_check() -> None:
    service = application(PoisonableEngine())

    for _ in range(19):
        answer_statuses(service, Call({"body": WHITE}))
    assert answer_statuses(service, Call({"body": PHOTO})) == [200]
    for _ in range(19):
        answer_statuses(service, Call({"body": WHITE}))
    assert service.failure is None
    answer_statuses(service, Call({"body": WHITE}))

    assert service.failure == "the engine has failed 20 times in a row"


def test_a_reply_has_its_format_and_number_of_images() -> None:
    photo = base64.b64encode(PHOTO).decode()
    two_images = {"instances": [{"data": photo, "format": "png"}, {"data": photo, "format": "npz"}]}

    replies = application(ColourEngine()).answer(
        [
            Call({"body": PHOTO}, format="index"),
            Call({"body": two_images}),
            Call({"body": PHOTO}, action="explain"),
            Call({"body": b"broken"}),
        ]
    )

    assert [(reply.format, reply.images) for reply in replies] == [("index", 1), ("mixed", 2), ("png", 1), (None, 0)]


def test_refused_calls_are_not_failures_of_the_engine() -> None:
    service = application(MirrorEngine())

    assert answer_statuses(service, *[Call({"body": b"broken"})] * 10) == [400] * 10
    assert not service.has_failed


@pytest.mark.slow
def test_threads_share_an_application_on_openvino(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model.safetensors")
    archive = ModelArchive(tmp_path, checkpoint, ModelIdentity("m", "1"), HandlerSettings(engine="openvino"), batch_size=2)
    service = Application.load(archive)
    (expected,) = service.answer([Call({"body": PHOTO})])
    replies: list[Reply] = []

    def ask() -> None:
        for _ in range(6):
            replies.extend(service.answer([Call({"body": PHOTO})]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert replies == [expected] * 18

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
    """Fails only on a white image."""

    def logits(self, pixels: Pixels) -> Logits:
        if pixels.min() == 255:
            raise RuntimeError("out of memory")
        return super().logits(pixels)


class DyingEngine(ColourEngine):
    """Works until `dead` is set, then never again."""

    dead = False

    def logits(self, pixels: Pixels) -> Logits:
        if self.dead:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().logits(pixels)


class OverflowingEngine(ColourEngine):
    """Gives infinite logits for a white image, and for every image once it is broken."""

    broken = False

    def logits(self, pixels: Pixels) -> Logits:
        logits = super().logits(pixels)
        return np.full_like(logits, np.inf) if self.broken or pixels.min() == 255 else logits


def application(engine: Engine, folder: Path = Path(), **settings: Any) -> Application:
    archive = ModelArchive(folder, folder / "model.safetensors", ModelIdentity("m", "1"), HandlerSettings(**settings))
    return Application(archive, build_pipeline(engine))


def answer(application: Application, *calls: Call) -> list[int]:
    """Return the statuses of the replies."""
    return [reply.error.status if reply.error else 200 for reply in application.answer(calls)]


def test_each_call_has_a_reply_of_its_own() -> None:
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


def test_only_the_action_asks_for_an_explanation() -> None:
    own = application(ColourEngine())

    predicted, explained = own.answer(
        [Call({"body": PHOTO}, {"explain": "True", "describe": "True"}), Call({"body": PHOTO}, action="explain")]
    )

    assert json.loads(predicted.body)["model"] == "m"
    assert explained.content_type == "image/png"


def test_a_description_needs_no_image(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model.safetensors")

    (reply,) = application(MirrorEngine(), tmp_path).answer([Call({}, action="describe")])

    assert json.loads(reply.body)["classes"] == ["background", "cat", "dog"]


def test_a_fault_of_ours_tells_the_client_the_request_and_the_log_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    (reply,) = application(PoisonableEngine()).answer([Call({"body": WHITE}, request_id="r-7")])

    message = json.loads(reply.body)["message"]
    assert reply.error is not None
    assert reply.error.status == 500
    assert "r-7" in message
    assert "out of memory" not in message
    assert "out of memory" in caplog.text


def test_a_request_that_breaks_the_engine_does_not_end_the_worker() -> None:
    own = application(PoisonableEngine())

    for _ in range(10):
        assert answer(own, Call({"body": WHITE})) == [500]

    assert not own.has_failed
    assert answer(own, Call({"body": PHOTO})) == [200]


def test_an_engine_that_fails_on_a_blank_image_too_has_failed() -> None:
    engine = DyingEngine()
    own = application(engine)
    assert answer(own, Call({"body": PHOTO})) == [200]

    engine.dead = True
    statuses = [answer(own, Call({"body": PHOTO}))[0] for _ in range(3)]

    assert statuses == [500] * 3
    assert own.has_failed


def test_a_network_whose_logits_are_not_finite_has_failed_at_once() -> None:
    engine = OverflowingEngine()
    own = application(engine)
    assert answer(own, Call({"body": PHOTO})) == [200]

    engine.broken = True

    assert answer(own, Call({"body": PHOTO})) == [500]
    assert "not finite" in str(own.failure)


def test_a_network_whose_logits_are_not_finite_does_not_start() -> None:
    engine = OverflowingEngine()
    engine.broken = True

    with pytest.raises(NonFiniteLogits, match="test in float32 gives logits that are not finite"):
        build_pipeline(engine).warm_up()


def test_an_image_whose_logits_are_not_finite_does_not_end_the_worker() -> None:
    own = application(OverflowingEngine())

    assert answer(own, *[Call({"body": WHITE})] * 10) == [500] * 10

    assert own.failure is None
    assert answer(own, Call({"body": PHOTO})) == [200]


def test_an_engine_that_fails_twenty_times_in_a_row_has_failed_whatever_the_test_says() -> None:
    own = application(PoisonableEngine())

    for _ in range(19):
        answer(own, Call({"body": WHITE}))
    assert answer(own, Call({"body": PHOTO})) == [200]
    for _ in range(19):
        answer(own, Call({"body": WHITE}))
    assert own.failure is None
    answer(own, Call({"body": WHITE}))

    assert own.failure == "the engine has failed 20 times in a row"


def test_a_reply_says_how_many_images_it_answers_in_what_format() -> None:
    photo = base64.b64encode(PHOTO).decode()
    two = {"instances": [{"data": photo, "format": "png"}, {"data": photo, "format": "npz"}]}

    replies = application(ColourEngine()).answer(
        [
            Call({"body": PHOTO}, format="index"),
            Call({"body": two}),
            Call({"body": PHOTO}, action="explain"),
            Call({"body": b"broken"}),
        ]
    )

    assert [(reply.format, reply.images) for reply in replies] == [("index", 1), ("mixed", 2), ("png", 1), (None, 0)]


def test_refused_calls_say_nothing_of_the_engine() -> None:
    own = application(MirrorEngine())

    assert answer(own, *[Call({"body": b"broken"})] * 10) == [400] * 10
    assert not own.has_failed


@pytest.mark.slow
def test_threads_share_an_application_on_openvino(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model.safetensors")
    archive = ModelArchive(tmp_path, checkpoint, ModelIdentity("m", "1"), HandlerSettings(engine="openvino"), batch_size=2)
    own = Application.load(archive)
    (alone,) = own.answer([Call({"body": PHOTO})])
    replies: list[Reply] = []

    def ask() -> None:
        for _ in range(6):
            replies.extend(own.answer([Call({"body": PHOTO})]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert replies == [alone] * 18

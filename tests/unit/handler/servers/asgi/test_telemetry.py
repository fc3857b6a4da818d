"""Telemetry with missing packages, and what it must not reveal."""

import importlib.util

import pytest

from handler.errors import InternalError, SegmentationError
from handler.servers.asgi.body import BodyBudget
from handler.servers.asgi.errors import DeadlineExceeded, ModelNotReady, QueueFull, WorkerDied, rejection_reason
from handler.servers.asgi.logs import error_location
from handler.servers.asgi.telemetry import make_telemetry


def test_a_server_without_the_package_of_metrics_serves_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    telemetry = make_telemetry({})
    telemetry.export_front(connections=lambda: 0, held_bytes=lambda: 0)

    assert telemetry.metrics is None
    assert "prometheus-client is not installed" in capsys.readouterr().err


def test_a_fault_is_logged_by_its_place_and_not_by_what_it_quotes() -> None:
    with pytest.raises(KeyError) as caught:
        raise KeyError("zebra.jpg")

    place = error_location(caught.value)
    assert place.startswith("KeyError at test_telemetry.py:")
    assert "zebra" not in place


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (QueueFull("5 requests wait"), "queue_full"),
        (ModelNotReady("its workers keep dying", 8), "model_not_ready"),
        (DeadlineExceeded("no answer within 1 s"), "deadline_exceeded"),
        (WorkerDied("two workers died with it"), None),
        (InternalError("a fault"), None),
    ],
)
def test_a_refusal_is_called_by_its_type_and_a_fault_is_none(error: SegmentationError, reason: str | None) -> None:
    assert rejection_reason(error) == reason


def test_too_many_bytes_in_hand_are_another_reason_than_a_full_queue() -> None:
    held = BodyBudget(100)

    with held.hold() as first, held.hold() as second:
        first.grow_to(60)
        with pytest.raises(QueueFull) as caught:
            second.grow_to(60)

    assert rejection_reason(caught.value) == "held_bytes"
    assert held.bytes == 0

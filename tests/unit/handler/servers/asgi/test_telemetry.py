"""Telemetry with missing packages, and what it must not reveal."""

import importlib.util

import pytest

from handler.errors import InternalError, SegmentationError
from handler.servers.asgi.body import BodyBudget
from handler.servers.asgi.errors import DeadlineExceeded, ModelNotReady, QueueFull, WorkerDied, rejection_reason
from handler.servers.asgi.logs import error_location
from handler.servers.asgi.telemetry import make_telemetry


def test_without_prometheus_client_the_server_runs_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    telemetry = make_telemetry({})
    telemetry.export_front(connections=lambda: 0, held_bytes=lambda: 0)

    assert telemetry.metrics is None
    assert "prometheus-client is not installed" in capsys.readouterr().err


def test_an_internal_error_is_logged_by_its_location_without_its_message() -> None:
    with pytest.raises(KeyError) as error:
        raise KeyError("zebra.jpg")

    location = error_location(error.value)
    assert location.startswith("KeyError at test_telemetry.py:")
    assert "zebra" not in location


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
def test_rejections_have_a_reason_and_internal_errors_none(error: SegmentationError, reason: str | None) -> None:
    assert rejection_reason(error) == reason


def test_too_many_held_bytes_are_a_separate_reason() -> None:
    budget = BodyBudget(100)

    with budget.hold() as first, budget.hold() as second:
        first.grow_to(60)
        with pytest.raises(QueueFull) as error:
            second.grow_to(60)

    assert rejection_reason(error.value) == "held_bytes"
    assert budget.bytes == 0

"""Telemetry where something is missing, and what it must not tell."""

import importlib.util

import pytest

from handler.servers.asgi.logs import place_of
from handler.servers.asgi.telemetry import make_telemetry


def test_a_server_without_the_package_of_metrics_serves_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    telemetry = make_telemetry({})
    telemetry.read_front(connections=lambda: 0, held_bytes=lambda: 0)

    assert telemetry.metrics is None
    assert "prometheus-client is not installed" in capsys.readouterr().err


def test_a_fault_is_logged_by_its_place_and_not_by_what_it_quotes() -> None:
    with pytest.raises(KeyError) as caught:
        raise KeyError("zebra.jpg")

    place = place_of(caught.value)
    assert place.startswith("KeyError at test_telemetry.py:")
    assert "zebra" not in place

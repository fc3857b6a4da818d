"""Shadows and canaries: the real front process with two small workers, whose classes are in opposite order."""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from handler.observation import SAMPLE_SIDE, Observation
from handler.servers.asgi.options import OptionError, Split, parse_options
from handler.servers.asgi.rollout import SERVED_BY, agreement, is_selected
from tests.unit.handler.servers.asgi.support import TIMEOUT_S, FakeServer, fake_server, until, write_fake_archive

pytest.importorskip("prometheus_client", reason="the package prometheus-client is not installed")


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[FakeServer]:
    next_archive = write_fake_archive(folder / "next")
    with fake_server(folder, "--model", f"next={next_archive}", *options) as server:
        until(server.is_ready)
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    with serving(tmp_path_factory.mktemp("server"), "--shadow", "fake=next:1") as running:
        yield running


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    with serving(tmp_path_factory.mktemp("server"), "--canary", "fake=next:0.5") as running:
        yield running


def value(server: FakeServer, sample: str) -> float:
    text = requests.get(f"{server.url}/metrics", timeout=TIMEOUT_S).text
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"deeplab_{sample} ")), 0)


def count_outcomes(server: FakeServer, name: str) -> float:
    return value(server, f'shadow_requests_total{{model="fake",outcome="{name}",shadow="next"}}')


def count_observed(server: FakeServer, model: str) -> float:
    return value(server, f'confidence_count{{model="{model}"}}')


def test_a_shadow_receives_the_request_and_classes_are_compared_by_name(server: FakeServer) -> None:
    compared_before, observed_before = count_outcomes(server, "compared"), count_observed(server, "next")

    # The shadow has `dog` at the index of `background`; `cat` has the same index in both.
    different = server.ask("observe 0 0.5", headers={"X-Request-ID": "different"})
    same = server.ask("observe 1 0.5")

    assert (different.content, same.content) == (b"observed", b"observed")
    assert SERVED_BY not in different.headers
    until(lambda: count_outcomes(server, "compared") == compared_before + 2)
    agreement_sum = 'shadow_agreement_sum{model="fake",shadow="next"}'
    assert value(server, agreement_sum) == value(server, agreement_sum.replace("_sum", "_count")) - 1
    assert count_observed(server, "next") == observed_before + 2
    (event,) = [event for event in server.events("shadow disagrees") if event["id"] == "different"]
    assert (event["model"], event["shadow"], event["agreement"]) == ("fake", "next", 0)


def test_an_answer_neither_waits_for_its_shadow_nor_fails_with_it(server: FakeServer, tmp_path: Path) -> None:
    failed_before = count_outcomes(server, "failed")
    shadow_commands = server.folder.with_name("next") / "commands"

    first = server.ask(f"observe-then-die {tmp_path / 'answered'}")

    assert first.content == b"observed"
    until(lambda: count_outcomes(server, "failed") == failed_before + 1)
    assert shadow_commands.read_text().count("observe-then-die") == 1  # It is not tried again.
    until(server.is_ready)
    compared_before = count_outcomes(server, "compared")
    assert server.ask("observe 1 0.5").content == b"observed"
    until(lambda: count_outcomes(server, "compared") == compared_before + 1)


def test_refused_requests_and_explanations_have_no_shadow(server: FakeServer) -> None:
    before = count_observed(server, "next"), sum(count_outcomes(server, name) for name in ("compared", "failed", "dropped"))

    server.ask("refuse InvalidImage")
    requests.post(f"{server.url}/explanations/fake", b"observe 1 0.5", timeout=TIMEOUT_S)
    requests.post(f"{server.url}/predictions/next", b"observe 1 0.5", timeout=TIMEOUT_S)

    until(lambda: count_observed(server, "next") == before[0] + 1)
    assert sum(count_outcomes(server, name) for name in ("compared", "failed", "dropped")) == before[1]


def test_shadow_requests_are_dropped_while_others_wait(server: FakeServer, tmp_path: Path) -> None:
    gate, dropped_before = tmp_path / "gate", count_outcomes(server, "dropped")
    request = f"wait {gate}".encode()
    head = b"POST /predictions/next HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(request)
    clients = [server.connect() for _ in range(4)]
    for client in clients:
        client.sendall(head + request)  # Two run, two wait.
    until(lambda: value(server, 'queue_length{model="next"}') == 2)

    assert server.ask("observe 1 0.5").content == b"observed"

    until(lambda: count_outcomes(server, "dropped") == dropped_before + 1)
    gate.touch()
    for client in clients:
        client.recv(1000)
        client.close()


def test_a_canary_answers_its_share_and_is_named_in_the_answer(canary: FakeServer) -> None:
    ids = [f"request-{number}" for number in range(20)]

    answers = [canary.ask("observe 1 0.5", headers={"X-Request-ID": name}).headers[SERVED_BY] for name in ids]

    assert answers == ["next" if is_selected(name, "canary", 0.5) else "fake" for name in ids]
    assert set(answers) == {"fake", "next"}
    until(lambda: count_observed(canary, "next") == answers.count("next"))


def test_a_client_that_names_a_version_gets_no_canary(canary: FakeServer) -> None:
    request_id = next(f"id-{number}" for number in range(99) if is_selected(f"id-{number}", "canary", 0.5))

    answer = requests.post(
        f"{canary.url}/predictions/fake/1.0", b"observe 1 0.5", headers={"X-Request-ID": request_id}, timeout=TIMEOUT_S
    )

    assert (answer.status_code, SERVED_BY in answer.headers) == (200, False)


def test_a_share_selects_the_same_requests_each_time() -> None:
    ids = [str(number) for number in range(4000)]

    selected = [name for name in ids if is_selected(name, "shadow", 0.1)]

    assert 300 < len(selected) < 500
    assert set(selected) <= {name for name in ids if is_selected(name, "shadow", 0.2)}
    assert all(is_selected(name, "shadow", 1.0) for name in ids)


def test_agreement_is_the_share_of_equal_names() -> None:
    points = SAMPLE_SIDE**2
    first = Observation(1.0, 0.5, 0.9, 0.1, {}, array("H", [0, 1] * (points // 2)).tobytes())
    second = Observation(1.0, 0.5, 0.9, 0.1, {}, array("H", [300, 300] * (points // 2)).tobytes())

    assert agreement((first, second), (["background", "cat"], [*map(str, range(300)), "cat"])) == 0.5


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--shadow", "a"], r"'a' must be NAME=OTHER:SHARE, the share above 0 and at most 1"),
        (["--shadow", "a=b:0"], "'a=b:0' must be"),
        (["--canary", "a=b:1.5"], "'a=b:1.5' must be"),
        (["--shadow", "a=b:1.1.1"], "must be"),
        (["--shadow", "a=c:0.1"], r"--shadow: there is no model 'c' here; the served models are a, b"),
        (["--canary", "a=a:0.1"], "--canary: 'a' cannot be compared with itself"),
        (["--shadow", "a=b:0.1", "--shadow", "a=b:0.2"], "given twice for 'a'"),
    ],
)
def test_an_invalid_share_is_refused(option: list[str], message: str, tmp_path: Path) -> None:
    models = ["--model", f"a={tmp_path}", "--model", f"b={tmp_path}"]

    with pytest.raises(OptionError, match=message):
        parse_options([*models, *option], "serve")
    assert parse_options([*models, "--shadow", "a=b:0.1"], "serve").shadow == [Split("a", "b", 0.1)]

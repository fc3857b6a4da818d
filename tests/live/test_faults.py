"""The asgi server loses no request under faults and load; the counts do not depend on the machine's speed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults.__main__ import run
from benchmarks.faults.exchanges import NOT_LISTENING
from benchmarks.faults.report import as_markdown, as_rows
from benchmarks.faults.scenarios import SCENARIOS, SMALL, Outcome
from scripts.server import Ports, Server, serving
from tests.archives import copy_with_settings

#: One worker killed and one stopped: a third death soon after is a crash loop, in which the server refuses requests.
FAULTS = [name for name in SCENARIOS if name != "crashloop"]


@pytest.fixture(scope="module")
def server(default_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the default model at a quarter of its size: only the outcomes of the hundreds of requests matter."""
    quarter = {"inference": {"scales": [0.25]}}
    store = tmp_path_factory.mktemp("store")
    archive = copy_with_settings(default_archive, store, lambda settings: settings["handler"].update(quarter))
    run, options = tmp_path_factory.mktemp("run"), ["--silent-after", "8"]
    with serving(archive, Ports.free(), run, software="asgi", options=options) as server:
        yield server


@pytest.fixture(scope="module")
def outcomes(server: Server, thumbnail: bytes) -> dict[str, Outcome]:
    """Inject the faults into one server; SIGTERM comes last."""
    return dict(zip(FAULTS, run(server, FAULTS, thumbnail, SMALL), strict=True))


@pytest.mark.parametrize("name", FAULTS)
def test_no_request_is_lost(outcomes: dict[str, Outcome], name: str) -> None:
    tally = outcomes[name].tally

    assert tally.lost == 0
    assert tally.sent == tally.answered + tally.refused


@pytest.mark.parametrize("name", ["kill", "hang", "slow", "hangup"])
def test_every_request_of_ordinary_clients_is_answered(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[name].tally.answered == SMALL.clients * SMALL.requests


def test_a_stopped_worker_is_replaced(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["hang"].note == "replaced"


def test_requests_of_a_crowd_are_answered_or_get_503(outcomes: dict[str, Outcome]) -> None:
    tally = outcomes["crowd"].tally

    assert set(tally.status_counts) <= {"200", "503"}
    assert tally.sent == SMALL.crowd
    assert tally.answered >= 100


def test_a_terminated_server_answers_the_requests_it_has_accepted(outcomes: dict[str, Outcome]) -> None:
    assert set(outcomes["terminate"].tally.status_counts) <= {"200", NOT_LISTENING}


def test_the_log_names_the_signal_that_killed_the_worker(outcomes: dict[str, Outcome], server: Server) -> None:
    assert set(outcomes) == set(FAULTS)
    assert '"reason":"signal SIGKILL"' in (server.run_directory / "logs" / "console.log").read_text()


def test_the_table_has_a_row_for_each_fault(outcomes: dict[str, Outcome]) -> None:
    rows = list(as_rows("asgi", outcomes.values()))

    assert [row["sent"] - row["answered"] - sum(row["refused"].values()) - row["lost"] for row in rows] == [0] * len(rows)
    assert len(as_markdown(rows).splitlines()) == 2 + len(FAULTS)

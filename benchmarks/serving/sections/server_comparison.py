"""Compare servers around the same network, all live at the same time: TorchServe, our own, and common alternatives."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests
from urllib3 import encode_multipart_formdata

from benchmarks.process_memory import family_resident
from benchmarks.serving.endpoint import Endpoint, RunningServer, UnexpectedAnswer
from benchmarks.serving.model_process import TOTAL, ModelProcess
from benchmarks.serving.peer_process import PEERS, peer_server, peers_are_installed
from benchmarks.serving.results import ComparedServer, Results, ServerComparison
from benchmarks.serving.timing import Spread
from benchmarks.serving.workspace import Report, Workspace
from handler.geometry import network_size
from model import read_metadata
from scripts.server import Ports, Software, start

#: The servers of this bundle's archive, by name in the table.
BUNDLE_SERVERS: dict[str, Software] = {"TorchServe": "torchserve", "this server": "asgi"}
_FIRST_ANSWER_TIMEOUT_S, _POLL_INTERVAL_S = 300, 0.02


@dataclass
class _Side:
    """A server and its measurements, round by round."""

    name: str
    endpoint: Endpoint
    #: Process id of the server's first process, the parent of all others.
    pid: int
    #: From the command to the first answer.
    first_answer_s: float
    #: Resident bytes of all its processes after the first answer.
    first_resident: int
    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def summarize(self) -> ComparedServer:
        return ComparedServer(
            self.name,
            Spread.of(self.latencies),
            Spread.of(self.rates),
            len(self.endpoint.answer()),
            self.first_answer_s,
            self.first_resident,
            family_resident(self.pid),
        )


def measure(space: Workspace, report: Report) -> Results:
    """Measure each server in turn while the others are idle."""
    plan = space.plan
    left_out = () if peers_are_installed() else tuple(name for name in plan.servers if name in PEERS)
    network: list[float] = []
    in_process: list[float] = []
    with _start_in_turn(space, [name for name in plan.servers if name not in left_out], report) as sides:
        with ModelProcess(space.unpacked_archive(plan.compared_server)) as engine:
            for number in range(1, plan.rounds + 1):
                report(f"servers, round {number} of {plan.rounds}: without a server")
                network += engine.network_seconds(space.photo, plan.one_client)
                in_process += [run[TOTAL] for run in engine.stage_seconds(space.photo, "json", plan.photo_runs)]
                for side in sides:
                    report(f"servers, round {number} of {plan.rounds}: {side.name}")
                    side.latencies += side.endpoint.latencies(plan.one_client)
                    side.rates.append(side.endpoint.per_second(plan.clients, plan.several_clients))
        servers = tuple(side.summarize() for side in sides)
    return Results(
        servers=ServerComparison(
            plan.compared_server, plan.clients, Spread.of(network), Spread.of(in_process), servers, left_out
        )
    )


@contextmanager
def _start_in_turn(space: Workspace, names: Sequence[str], report: Report) -> Iterator[list[_Side]]:
    """Start servers one after the other, so that none slows another's start, and yield them."""
    if not names:
        yield []
        return
    *earlier_names, name = names
    with _start_in_turn(space, earlier_names, report) as sides:
        report(f"servers: starting {name}")
        space.archive(space.plan.compared_server)
        start_time = time.monotonic()
        with _run_server(space, name) as (server, pid):
            endpoint = _endpoint(name, server, space.photo)
            _await_first_answer(endpoint, pid)
            yield [*sides, _Side(name, endpoint, pid, time.monotonic() - start_time, family_resident(pid))]


@contextmanager
def _run_server(space: Workspace, name: str) -> Iterator[tuple[RunningServer, int]]:
    """Run a server inside the block, and yield it with the id of its first process."""
    case, folder = space.plan.compared_server, _folder(space, name)
    if name in PEERS:
        checkpoint = space.checkpoint(case)
        size = network_size(read_metadata(checkpoint).resize, space.plan.photo)
        with peer_server(name, checkpoint, size, folder / "console.log") as peer:
            yield peer, peer.pid
        return
    server = start(space.archive(case), Ports.free(), folder, software=BUNDLE_SERVERS[name])
    try:
        yield server, server.pid
    finally:
        server.stop()


def _folder(space: Workspace, name: str) -> Path:
    folder = space.folder / "compared" / name.replace(" ", "-")
    folder.mkdir(parents=True)
    return folder


def _endpoint(name: str, server: RunningServer, photo: bytes) -> Endpoint:
    """Return the endpoint with a request like its users': frameworks based on FastAPI take the photograph as a form file."""
    if name in PEERS and PEERS[name].takes_form:
        body, content_type = encode_multipart_formdata({"file": ("photo.jpg", photo, "image/jpeg")})
        return Endpoint(server, body, content_type)
    return Endpoint(server, photo)


def _await_first_answer(endpoint: Endpoint, pid: int) -> None:
    """Return when the server has answered.

    Raises:
        UnexpectedAnswer: the server ends, or does not answer within minutes.
    """
    deadline = time.monotonic() + _FIRST_ANSWER_TIMEOUT_S
    while time.monotonic() < deadline and psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        with suppress(requests.ConnectionError, UnexpectedAnswer):
            endpoint.answer()
            return
        time.sleep(_POLL_INTERVAL_S)
    raise UnexpectedAnswer(f"{endpoint.server.url}: the server ended, or did not answer within {_FIRST_ANSWER_TIMEOUT_S} s")

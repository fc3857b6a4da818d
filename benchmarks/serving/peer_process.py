"""Run one of the servers in `peers`."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from handler.geometry import Size
from scripts.server import Ports

_ROOT = Path(__file__).parents[2]
#: The environment that `make bench` creates.
_PYTHON = _ROOT / ".venv" / "peers" / "bin" / "python"
_STOP_TIMEOUT_S = 10


@dataclass(frozen=True)
class Peer:
    """A server that people might write or choose instead."""

    #: Its module in `peers`.
    program: str
    #: Whether it takes the photograph as a file in a form instead of the body.
    takes_form: bool


#: By name in the table.
PEERS = {
    "FastAPI and torchvision": Peer("fastapi_server", takes_form=True),
    "LitServe": Peer("litserve_server", takes_form=True),
    "Hugging Face's pipeline": Peer("pipeline_server", takes_form=False),
}


@dataclass(frozen=True)
class PeerServer:
    """A running peer."""

    pid: int
    port: int
    certificate: None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/segment"

    def workers(self) -> list[dict[str, Any]]:
        return [{"pid": self.pid}]


def peers_are_installed() -> bool:
    return _PYTHON.exists()


@contextmanager
def peer_server(name: str, checkpoint: Path, size: Size, log: Path) -> Iterator[PeerServer]:
    """Run a peer inside the block.

    Args:
        name: from `PEERS`.
        checkpoint: the network to serve.
        size: height and width of the network's input.
        log: file for the peer's output.
    """
    port = Ports.free().inference
    program = [str(_PYTHON), "-m", f"benchmarks.serving.peers.{PEERS[name].program}"]
    options = ["--checkpoint", str(checkpoint.resolve()), "--size", *map(str, size), "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen([*program, *options], cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield PeerServer(process.pid, port)
    finally:
        _stop_family(process)


def _stop_family(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all its descendants."""
    parent = psutil.Process(process.pid)
    family = [*parent.children(recursive=True), parent]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, _STOP_TIMEOUT_S)
    for member in alive:
        member.kill()
    process.wait(_STOP_TIMEOUT_S)

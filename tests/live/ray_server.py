"""Ray Serve on this machine, started as users start it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from scripts.ray_cluster import INSTALL_RAY
from scripts.server import Ports, Server
from scripts.server.logs import CONSOLE
from tests.support import ROOT

#: For tests that start a Ray; they take a minute or more.
ON_RAY = (
    pytest.mark.exhaustive,
    pytest.mark.skipif(find_spec("ray") is None, reason=f"Ray is not installed; {INSTALL_RAY}"),
)
#: Ray Serve waits 30 s for a controller that has gone; if that happens, a slow exit is the least of the problems.
_EXIT_TIMEOUT_S = 300
_REPLICA = "ray::ServeReplica"


@dataclass(frozen=True)
class RayServer(Server):
    """Ray Serve, with replicas that have the routes of the server without Java."""

    def replicas(self) -> list[psutil.Process]:
        """Return the processes of the replicas."""
        return [process for process in self._family() if _title(process).startswith(_REPLICA)]

    def replica_log(self) -> Path:
        """Return the file in which Ray keeps what the one replica and its worker log."""
        (replica,) = self.replicas()
        words = (word for process in self._family() for word in _title(process).split())
        folder = next(word.partition("=")[2] for word in words if word.startswith("--log_dir="))
        (log,) = Path(folder).glob(f"worker-*-{replica.pid}.err")
        return log

    def _family(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)


@contextmanager
def serving_on_ray(archive: Path, folder: Path, *options: str) -> Iterator[RayServer]:
    """Run Ray Serve with these options of `scripts.ray_serve` for the block.

    It is stopped with SIGTERM to its process group, as `timeout` and shells send it; this must end every process that it
    started, without complaints.
    """
    logs, cache, ports = folder / "run" / "logs", folder / "cache", Ports.free()
    logs.mkdir(parents=True)
    program = [sys.executable, "-m", "scripts.ray_serve", "--archive", str(archive), "--port", str(ports.inference)]
    with (logs / CONSOLE).open("w") as console:
        process = subprocess.Popen(
            [*program, "--server", f"--cache {cache}", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=console,
            text=True,
            process_group=0,
        )
    with process:
        try:
            assert process.stdout is not None
            assert any(line.startswith("ready: ") for line in process.stdout), (logs / CONSOLE).read_text()
            start_time = psutil.Process(process.pid).create_time()
            yield RayServer(process.pid, start_time, ports, archive.stem, folder / "run", cache, "asgi")
            family = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGTERM)
            assert process.wait(_EXIT_TIMEOUT_S) == 0
            log_lines = (logs / CONSOLE).read_text().splitlines()
            assert [line for line in log_lines if not line.startswith("INFO ")] == []
            assert psutil.wait_procs(family, timeout=10)[1] == []
        finally:
            process.kill()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""

"""A server that was started: its URLs, its workers, its end, and how a later program finds it."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil
import requests

from handler.servers.asgi.options import ServerOptions
from scripts.server.logs import CONSOLE, Logs
from scripts.server.ports import LOOPBACK, Ports, ServerError
from scripts.server_access import PinnedCertificate, ServerAccess

#: A GPU's first start compiles the network. A model that fails to load is reported at once.
READY_WITHIN_S = 900
_ENDS_AT_ONCE_S, _STOP_WITHIN_S = 1, 30
#: As long as our own server lets the requests that it has accepted take when it is stopped.
_DRAIN_S = ServerOptions({}).drain
#: TorchServe, or the server of our own (`handler.servers.asgi`).
Software = Literal["torchserve", "asgi"]
#: A process began at the same time, however the clock was set meanwhile; no id is given again so soon.
_CLOCK_MAY_MOVE_S = 30


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    #: When the process began, in seconds since the epoch: tells it from a later process with the same id.
    started: float
    ports: Ports
    model: str
    #: Logs, and the configuration it was started with.
    run_directory: Path
    #: A temporary folder of its own: TorchServe keeps one PID file and its workers' sockets there.
    temporary: Path
    software: Software = "torchserve"
    #: Name or address under which this machine reaches it.
    host: str = LOOPBACK
    #: What it shows, if it speaks TLS.
    certificate: Path | None = None

    @property
    def url(self) -> str:
        return f"{self._address(self.ports.inference)}/predictions/{self.model}"

    @property
    def page_url(self) -> str | None:
        """Address of the page for people; None: TorchServe has none."""
        return f"{self._address(self.ports.inference)}/" if self.software == "asgi" else None

    @property
    def management_url(self) -> str:
        port = self.ports.management if self.software == "torchserve" else self.ports.inference
        return f"{self._address(port)}/models/{self.model}"

    @property
    def metrics_url(self) -> str:
        return f"{self._address(self.ports.metrics)}/metrics"

    @property
    def logs(self) -> Logs:
        return Logs(self.run_directory / "logs")

    def process(self) -> psutil.Process | None:
        """Return the server's process, or None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            alive = abs(process.create_time() - self.started) < _CLOCK_MAY_MOVE_S and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None

    def workers(self) -> list[dict[str, object]]:
        """Return what the server says about its workers (`id`, `status`, `pid`, ...); nothing while it does not answer."""
        response = self._get(self.management_url)
        workers: list[dict[str, object]] = response.json()[0]["workers"] if response is not None and response.ok else []
        return workers

    def is_ready(self) -> bool:
        """Return whether requests would be answered now."""
        if self.software == "torchserve":  # Its probes are green before it is ready.
            workers = self.workers()
            return bool(workers) and all(worker["status"] == "READY" for worker in workers)
        response = self._get(f"{self._address(self.ports.inference)}/v2/health/ready")
        return response is not None and response.ok

    def wait_until_ready(self, within: float = READY_WITHIN_S) -> None:
        """Return when requests would be answered.

        Raises:
            ServerError: the server ends, a worker fails to start, or `within` seconds are over; with the end of the log.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.process() is None:
                raise ServerError(f"the server ended while starting\n{self.logs.tail(CONSOLE)}")
            if self.is_ready():
                return
            if failure := self.logs.load_failure():
                raise ServerError(f"{self.model!r} cannot be served\n{failure}")
            time.sleep(0.2)
        raise ServerError(f"not READY after {within:.0f} s\n{self.logs.tail()}")

    def stop(self, say: Callable[[str], object] = lambda _: None) -> None:
        """End the server and its workers, and remove its temporary folder. Does nothing if it has ended.

        Our own server finishes what it has accepted, which may take as long as it lets a request take.

        Args:
            say: told what the server waits for, if it does not end at once.
        """
        process = self.process()
        if process is not None:
            family = [process, *process.children(recursive=True)]
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=_ENDS_AT_ONCE_S)
            if alive and self.software == "asgi":
                say(f"{self._unfinished()}, {_DRAIN_S:g} s at most; `kill {self.pid}` ends it at once")
            _, alive = psutil.wait_procs(alive, timeout=_STOP_WITHIN_S + (_DRAIN_S if self.software == "asgi" else 0))
            for straggler in alive:
                straggler.kill()
            psutil.wait_procs(alive, timeout=_STOP_WITHIN_S)
        shutil.rmtree(self.temporary, ignore_errors=True)
        self._state_file(self.run_directory).unlink(missing_ok=True)

    def _unfinished(self) -> str:
        count = self.logs.unfinished()
        requests = "the requests" if count is None else f"{count} request{'s' if count != 1 else ''}"
        return f"waiting for {requests} that the server has accepted"

    def save(self) -> None:
        """Remember the server in its run directory, for `find`."""
        state = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        # As model.atomic does, which would bring torch along.
        part = self.run_directory / "state.json.part"
        part.write_text(json.dumps(state))
        part.replace(self._state_file(self.run_directory))

    @classmethod
    def find(cls, run_directory: Path) -> "Server | None":
        """Return the server that was started with this run directory, if it still runs.

        Raises:
            ServerError: the state file does not describe a server, so that a running one could not be stopped.
        """
        path = cls._state_file(run_directory)
        try:
            state = json.loads(path.read_text())
            paths = {"run_directory": run_directory, "temporary": Path(state["temporary"])}
            if state.get("certificate"):
                paths["certificate"] = Path(state["certificate"])
            server = cls(**{**state, **paths, "ports": Ports(**state["ports"])})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(
                f"{path}: does not describe a server ({type(error).__name__}: {error}); end the server by hand if it still "
                "runs, then remove this file"
            ) from error
        return server if server.process() else None

    def _address(self, port: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{port}"

    def _get(self, url: str) -> requests.Response | None:
        """Ask the server itself, with the environment's token if it has one; return None while it does not answer."""
        with requests.Session() as session:
            ServerAccess.from_environment().prepare(session, url, {})
            try:
                if self.certificate:
                    session.mount("https://", PinnedCertificate(self.certificate))
                return session.get(url, timeout=5, verify=False if self.certificate else None)
            except (requests.RequestException, OSError):
                return None

    @staticmethod
    def _state_file(run_directory: Path) -> Path:
        return run_directory / "state.json"

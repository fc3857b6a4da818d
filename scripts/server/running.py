"""A running server: its URLs and workers, how it is stopped, and how a later program finds it."""

import base64
import json
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import requests
from urllib3.exceptions import InsecureRequestWarning

from handler.servers.asgi.options import ServerOptions
from scripts.server.logs import CONSOLE, Logs
from scripts.server.ports import LOOPBACK, Ports, ServerError
from scripts.server.properties import KEYS, Endpoint, endpoint
from scripts.server_access import PinnedCertificate, ServerAccess

#: The first start on a GPU compiles the network. A model that fails to load is reported at once.
READY_TIMEOUT_S = 900
#: Predicting a tiny image takes a fraction of a second, but waits for other requests on a busy server.
READY_PROBE_S = 10
_RESPONSE_TIMEOUT_S = 5
#: One grey pixel.
_TINY_PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg==")
_QUICK_STOP_S, _STOP_TIMEOUT_S = 1, 30
#: How long our own server, when stopped, waits for the requests that it has accepted.
_DRAIN_S = ServerOptions({}).drain
#: TorchServe, or our own server (`handler.servers.asgi`).
Software = Literal["torchserve", "asgi"]
#: Tolerance for a start time, since the clock may be set in between; process ids are not reused this soon.
_CLOCK_TOLERANCE_S = 30
#: How the names of temporary folders begin.
TEMPORARY = "deeplab-"


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    #: When the process began, in seconds since the epoch; distinguishes it from a later process with the same id.
    started: float
    ports: Ports
    model: str
    #: Holds the logs, and the configuration that the server was started with.
    run_directory: Path
    #: A separate temporary folder, where TorchServe keeps its PID file and its workers' sockets.
    temporary: Path
    software: Software = "torchserve"
    #: Name or address at which this machine reaches the server.
    host: str = LOOPBACK
    #: The server's certificate, if it uses TLS.
    certificate: Path | None = None
    #: Names of further models that it serves.
    others: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        return self.model, *self.others

    @property
    def url(self) -> str:
        return self.url_of(self.model)

    def url_of(self, model: str) -> str:
        """Return the URL for predictions by one of its models."""
        return f"{self.endpoint('inference').url}/predictions/{model}"

    @property
    def page_url(self) -> str | None:
        """URL of the web page, or None for TorchServe, which has no page."""
        return f"{self.endpoint('inference').url}/" if self.software == "asgi" else None

    @property
    def management_url(self) -> str:
        return f"{self.endpoint('management').url}/models/{self.model}"

    @property
    def metrics_url(self) -> str:
        return f"{self.endpoint('metrics').url}/metrics"

    def endpoint(self, api: Literal["inference", "management", "metrics"]) -> Endpoint:
        """Return how this machine reaches an API; our own server has all of them on one port."""
        if self.software == "torchserve":
            return endpoint(self.run_directory, api, self.ports)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return Endpoint(f"{'https' if self.certificate else 'http'}://{host}:{self.ports.inference}", self.certificate)

    @property
    def logs(self) -> Logs:
        return Logs(self.run_directory / "logs")

    def process(self) -> psutil.Process | None:
        """Return the server's process, or None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            alive = abs(process.create_time() - self.started) < _CLOCK_TOLERANCE_S and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None

    def workers(self) -> list[dict[str, object]]:
        """Return the server's descriptions of its workers (`id`, `status`, `pid`, ...), the first model's first."""
        return [worker for model in self.models for worker in self._workers_of(model)]

    def _workers_of(self, model: str) -> list[dict[str, object]]:
        """Return the server's descriptions of one model's workers, or an empty list while it does not answer."""
        response = self._get("management", f"/models/{model}")
        workers: list[dict[str, object]] = response.json()[0]["workers"] if response is not None and response.ok else []
        return workers

    def is_ready(self) -> bool:
        """Return whether requests would be answered now."""
        if self.software == "torchserve":  # Its health probes pass before it is ready.
            by_model = [self._workers_of(model) for model in self.models]
            return all(workers and all(worker["status"] == "READY" for worker in workers) for workers in by_model)
        response = self._get("inference", "/v2/health/ready")
        return response is not None and response.ok

    def why_not_ready(self, timeout_s: float = READY_PROBE_S) -> str | None:
        """Request a prediction of a tiny image from each model; return why one failed, or None if all succeed.

        TorchServe's own probes also pass when a worker hangs, when there are no workers, and while the model is loading.
        """
        if self.process() is None:
            return "the server has ended"
        reasons = (self._prediction_failure(model, timeout_s) for model in self.models)
        return next((reason for reason in reasons if reason), None)

    def _prediction_failure(self, model: str, timeout_s: float) -> str | None:
        try:
            path, headers = f"/predictions/{model}", {"Content-Type": "image/png", "X-Segment-Masks": "none"}
            answer = self._request("POST", "inference", path, timeout_s, data=_TINY_PNG, headers=headers)
        except requests.Timeout:
            return f"a prediction is not answered within {timeout_s:g} s"
        except (requests.RequestException, OSError) as error:
            return f"a prediction fails with {type(error).__name__}"
        return None if answer.ok else f"a prediction is answered with {answer.status_code}: {answer.text[:200]}"

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until requests would be answered.

        Raises:
            ServerError: the server ends, a worker fails to start, or `timeout_s` seconds pass; the message ends with the log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process() is None:
                raise ServerError(f"the server ended while starting\n{self.logs.tail(CONSOLE)}")
            if self.is_ready():
                return
            if failure := self.logs.load_failure():
                raise ServerError(f"{' or '.join(map(repr, self.models))} cannot be served\n{failure}")
            time.sleep(0.2)
        raise ServerError(f"not READY after {timeout_s:.0f} s\n{self.logs.tail()}")

    def stop(self, report: Callable[[str], object] = lambda _: None) -> None:
        """Stop the server and its workers, if they still run, and remove its temporary folder.

        Our own server first finishes the requests it has accepted, within its `drain` time.

        Args:
            report: called with a sentence on what the server is waiting for, if it does not end at once.
        """
        process = self.process()
        if process is not None:
            family = [process, *process.children(recursive=True)]
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=_QUICK_STOP_S)
            if alive and self.software == "asgi":
                report(f"{self._unfinished()}, {_DRAIN_S:g} s at most; `kill {self.pid}` ends it at once")
            _, alive = psutil.wait_procs(alive, timeout=_STOP_TIMEOUT_S + (_DRAIN_S if self.software == "asgi" else 0))
            for straggler in alive:
                straggler.kill()
            psutil.wait_procs(alive, timeout=_STOP_TIMEOUT_S)
        self._remove_state()

    def _remove_state(self) -> None:
        """Remove the server's temporary folder, and its keys and state unless another server was started meanwhile."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        path = self._state_file(self.run_directory)
        try:
            is_own = json.loads(path.read_text())["temporary"] == str(self.temporary)
        except (OSError, ValueError, KeyError, TypeError):
            return
        if is_own:
            (self.run_directory / KEYS).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def _unfinished(self) -> str:
        count = self.logs.unfinished()
        requests = "the requests" if count is None else f"{count} request{'s' if count != 1 else ''}"
        return f"waiting for {requests} that the server has accepted"

    def save(self) -> None:
        """Record the server in its run directory, for `find`."""
        state = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        # Like model.atomic, which would import torch.
        part = self.run_directory / "state.json.part"
        part.write_text(json.dumps(state))
        part.replace(self._state_file(self.run_directory))

    @classmethod
    def find(cls, run_directory: Path) -> "Server | None":
        """Return the server that was started with this run directory, or None if it no longer runs.

        Raises:
            ServerError: the state file does not describe a server, so a running one could not be stopped.
        """
        server = cls._load_state(run_directory)
        return server if server is not None and server.process() else None

    @classmethod
    def _load_state(cls, run_directory: Path) -> "Server | None":
        path = cls._state_file(run_directory)
        try:
            state = json.loads(path.read_text())
            paths = {"run_directory": run_directory, "temporary": Path(state["temporary"])}
            if state.get("certificate"):
                paths["certificate"] = Path(state["certificate"])
            others = tuple(state.get("others", ()))  # JSON has no tuples.
            return cls(**{**state, **paths, "ports": Ports(**state["ports"]), "others": others})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(
                f"{path}: does not describe a server ({type(error).__name__}: {error}); end the server by hand if it still "
                "runs, then remove this file"
            ) from error

    def _get(self, api: Literal["inference", "management"], path: str) -> requests.Response | None:
        """Send a GET request; return None while the server does not answer."""
        try:
            return self._request("GET", api, path, _RESPONSE_TIMEOUT_S)
        except (requests.RequestException, OSError):
            return None

    def _request(
        self, method: str, api: Literal["inference", "management"], path: str, timeout_s: float, **content: Any
    ) -> requests.Response:
        """Send a request with the server's key or the environment's token.

        Raises:
            requests.RequestException, OSError: there is no answer.
        """
        api_endpoint = self.endpoint(api)
        access = ServerAccess(api_endpoint.key) if api_endpoint.key else ServerAccess.from_environment()
        with requests.Session() as session, warnings.catch_warnings():
            # A keystore's certificate cannot be pinned; the port is on this machine, and was free when the server started.
            warnings.simplefilter("ignore", InsecureRequestWarning)
            access.prepare(session, api_endpoint.url, {})
            if api_endpoint.certificate:
                session.mount("https://", PinnedCertificate(api_endpoint.certificate))
            verify = False if api_endpoint.is_tls else None
            return session.request(method, api_endpoint.url + path, timeout=timeout_s, verify=verify, **content)

    @staticmethod
    def _state_file(run_directory: Path) -> Path:
        return run_directory / "state.json"


def remove_leftovers(run_directory: Path) -> Path | None:
    """Remove what a killed server left behind; return its temporary folder, or None if nothing was left.

    Raises:
        ServerError: the state file does not describe a server.
    """
    server = Server._load_state(run_directory)
    if server is None or server.process() is not None:
        return None
    if server.temporary.name.startswith(TEMPORARY):  # Never delete another folder, whatever the state file says.
        server._remove_state()
        return server.temporary
    return None

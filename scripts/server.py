"""Start, watch and stop a TorchServe of one's own.

python -m scripts.server start --archive build/model-store/deeplabv3.mar --port 8080
python -m scripts.server stop
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import requests

from scripts.arguments import Parser, seconds, whole_number
from scripts.errors import UserError, report_errors
from scripts.java import find_java_home

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config.properties"
LOGGING = ROOT / "log4j2.xml"
DEFAULT_RUN_DIRECTORY = ROOT / "build" / "server"
DEFAULT_PORT = 8080
#: The four ports after it are used too.
LAST_BASE_PORT = 65531
#: A GPU's first start compiles the network. What fails to start is told at once.
READY_WITHIN_S = 900
_STOP_WITHIN_S = 30
#: A process began at the same time, however the clock was set meanwhile; no id is given again so soon.
_CLOCK_MAY_MOVE_S = 30
_LOG_LINES_SHOWN = 25


class ServerError(UserError):
    """The server cannot be started, or did not become ready."""


@dataclass(frozen=True)
class Ports:
    """The five ports of a TorchServe, all on loopback."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """Five in a row, as in config.properties.

        Raises:
            ServerError: if they are not all ports that anyone may open.
        """
        if not 1024 <= base <= LAST_BASE_PORT:
            raise ServerError(f"PORT {base} must be from 1024 to {LAST_BASE_PORT}: it and the four ports after it are used")
        return cls(*range(base, base + 5))

    @classmethod
    def free(cls) -> "Ports":
        """Five ports that nobody listens on."""
        sockets = [socket.socket() for _ in range(5)]
        try:
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            return cls(*(each.getsockname()[1] for each in sockets))
        finally:
            for each in sockets:
                each.close()

    def taken(self) -> list[int]:
        """Those on which something listens already."""
        return [port for port in asdict(self).values() if _listens(port)]


@dataclass(frozen=True)
class Server:
    """A running TorchServe."""

    pid: int
    #: Of the process, in seconds since the epoch: tells it from a later process with the same id.
    started: float
    ports: Ports
    model: str
    #: Logs, and the configuration it was started with.
    run_directory: Path
    #: A temporary folder of its own: TorchServe keeps one PID file and its workers' sockets there.
    temporary: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.inference}/predictions/{self.model}"

    @property
    def management_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.management}/models/{self.model}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.metrics}/metrics"

    def process(self) -> psutil.Process | None:
        """Its process, or None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            alive = abs(process.create_time() - self.started) < _CLOCK_MAY_MOVE_S and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None

    def workers(self) -> list[dict[str, object]]:
        """TorchServe's account of its workers (`id`, `status`, `pid`, ...); empty while it does not answer."""
        try:
            response = requests.get(self.management_url, timeout=5)
        except requests.RequestException:
            return []
        workers: list[dict[str, object]] = response.json()[0]["workers"] if response.ok else []
        return workers

    def wait_until_ready(self, within: float = READY_WITHIN_S) -> None:
        """Return when every worker is READY.

        Raises:
            ServerError: if the server ends, a worker fails to start, or the time is over; with the end of the log.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.process() is None:
                raise ServerError(f"TorchServe ended while starting\n{self._log_tail('console.log')}")
            workers = self.workers()
            if workers and all(worker["status"] == "READY" for worker in workers):
                return
            if failure := self._failure():
                raise ServerError(f"{self.model!r} cannot be served\n{failure}")
            time.sleep(0.2)
        raise ServerError(f"not ready after {within:.0f} s\n{self._log_tail()}")

    def stop(self) -> None:
        """End the server and its workers, and remove its temporary folder. Does nothing if it has ended."""
        process = self.process()
        if process is not None:
            family = [process, *process.children(recursive=True)]
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=_STOP_WITHIN_S)
            for straggler in alive:
                straggler.kill()
            psutil.wait_procs(alive, timeout=_STOP_WITHIN_S)
        shutil.rmtree(self.temporary, ignore_errors=True)
        self._state_file(self.run_directory).unlink(missing_ok=True)

    def save(self) -> None:
        """Remember the server in its run directory, for `find`."""
        state = {**asdict(self), "run_directory": str(self.run_directory), "temporary": str(self.temporary)}
        self._state_file(self.run_directory).write_text(json.dumps(state))

    @classmethod
    def find(cls, run_directory: Path) -> "Server | None":
        """The server that was started with this run directory, if it still runs."""
        try:
            state = json.loads(cls._state_file(run_directory).read_text())
        except FileNotFoundError:
            return None
        state |= {"ports": Ports(**state["ports"]), "run_directory": run_directory, "temporary": Path(state["temporary"])}
        server = cls(**state)
        return server if server.process() else None

    @staticmethod
    def _state_file(run_directory: Path) -> Path:
        return run_directory / "state.json"

    def _log(self, name: str) -> str:
        path = self.run_directory / "logs" / name
        return path.read_text(errors="replace") if path.exists() else ""

    def _failure(self) -> str | None:
        """What the logs say of a model that failed to load, if one did. TorchServe itself would try again for ever."""
        server = self._log("ts_log.log")
        if match := re.search(r"Failed to load model: .*\n.*", server):
            return match[0]
        return self._log_tail() if "Load model failed" in server else None

    def _log_tail(self, *names: str) -> str:
        """The end of the first log that says anything: by default what the model's worker said, or else what the server did."""
        for name in names or ("model_log.log", "console.log"):
            lines = [line for line in self._log(name).splitlines() if line.strip() and "ACCESS_LOG" not in line]
            if lines:
                return "\n".join([*lines[-_LOG_LINES_SHOWN:], f"(the end of {self.run_directory / 'logs' / name})"])
        return f"(no log under {self.run_directory / 'logs'})"


def start(archive: Path, ports: Ports, run_directory: Path = DEFAULT_RUN_DIRECTORY, config: Path = CONFIG) -> Server:
    """Start TorchServe with one archive. Returns at once; call `wait_until_ready`.

    Raises:
        ServerError: if the archive is missing, a port is taken, or a server of this run directory runs already.
        JavaNotFound: if there is no Java 17+.
    """
    if not archive.is_file():
        raise ServerError(f"{archive}: no such archive; `make package` builds it")
    running = Server.find(run_directory)
    if running is not None:
        raise ServerError(f"a server runs already at {running.url}; `make stop` ends it")
    if taken := ports.taken():
        raise ServerError(f"port {', '.join(map(str, taken))} is in use; choose five free ports with PORT=")
    logs = run_directory / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    temporary = Path(tempfile.mkdtemp(prefix="deeplab-"))
    settings = run_directory / "config.properties"
    settings.write_text(_with_ports(config.read_text(), ports))
    model = archive.stem
    command = [
        *(str(Path(sys.executable).parent / "torchserve"), "--start", "--ncs"),
        *("--model-store", str(archive.parent.resolve()), "--models", f"{model}={archive.name}"),
        *("--ts-config", str(settings.resolve()), "--log-config", str(LOGGING)),
    ]
    try:
        pid, started = _launch(command, _environment(temporary, logs), logs / "console.log")
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    server = Server(pid, started, ports, model, run_directory, temporary)
    server.save()
    return server


def _launch(command: list[str], environment: dict[str, str], console: Path) -> tuple[int, float]:
    """Run torchserve's launcher; the id of the process it leaves behind, and when that began."""
    with console.open("w") as output:
        launcher = subprocess.run(
            command,
            check=False,
            cwd=console.parent,
            env=environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        pid = int((Path(environment["TMPDIR"]) / ".model_server.pid").read_text())
        return pid, psutil.Process(pid).create_time()
    except (FileNotFoundError, psutil.NoSuchProcess) as error:
        said = console.read_text(errors="replace")[-2000:]
        raise ServerError(f"TorchServe ended at once, with exit code {launcher.returncode}\n{said}") from error


@contextmanager
def serving(
    archive: Path, ports: Ports, run_directory: Path = DEFAULT_RUN_DIRECTORY, config: Path = CONFIG
) -> Iterator[Server]:
    """A server that is ready inside the block and stopped after it."""
    server = start(archive, ports, run_directory, config)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def _environment(temporary: Path, logs: Path) -> dict[str, str]:
    # A worker's import path begins with PYTHONPATH: what is there would hide the archive's own modules.
    inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "TS_CONFIG_FILE"}}
    return {
        **inherited,
        "JAVA_HOME": str(find_java_home()),
        "LOG_LOCATION": str(logs.resolve()),
        "METRICS_LOCATION": str(logs.resolve()),
        "TMPDIR": str(temporary),
        "TEMP": str(temporary),
    }


def _with_ports(properties: str, ports: Ports) -> str:
    """The text of config.properties with these ports, and with paths that hold in any folder."""
    for name in ("inference", "management", "metrics"):
        properties = re.sub(rf"^({name}_address=http://[^:]+):\d+", rf"\1:{getattr(ports, name)}", properties, flags=re.M)
    for name in ("grpc_inference", "grpc_management"):
        properties = re.sub(rf"^({name}_port)=\d+", rf"\1={getattr(ports, name)}", properties, flags=re.M)
    return re.sub(
        r"^metrics_config=(.+)", lambda match: f"metrics_config={(ROOT / match[1]).resolve()}", properties, flags=re.M
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    return _start(arguments) if arguments.command == "start" else _stop(arguments)


def _start(arguments: Namespace) -> int:
    server = start(arguments.archive, Ports.from_base(arguments.port), arguments.run_directory)
    try:
        server.wait_until_ready(arguments.within)
    except BaseException:
        server.stop()
        raise
    print(f"READY at {server.url}")
    print(f"try:  curl -T photo.jpg -H 'X-Segment-Format: overlay' {server.url} -o overlay.jpg")
    print("stop: make stop")
    return 0


def _stop(arguments: Namespace) -> int:
    server = Server.find(arguments.run_directory)
    if server is None:
        print("no server runs")
        return 0
    server.stop()
    print(f"stopped {server.url}")
    return 0


def _parser() -> Parser:
    parser = Parser("python -m scripts.server", __doc__)
    _add_run_directory(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="start | stop")
    starting = commands.add_parser("start", help="start the server; returns when it is READY")
    starting.add_argument("--archive", type=Path, required=True, metavar="FILE", help="model archive, MODEL.mar")
    _add_port(starting)
    starting.add_argument(
        "--within", type=seconds, default=READY_WITHIN_S, metavar="SECONDS", help="longest wait for READY (%(default)s)"
    )
    commands.add_parser("stop", help="stop the server, if it runs")
    return parser


def add_server_options(parser: Parser) -> None:
    """Add `--port` and `--run-directory`."""
    _add_port(parser)
    _add_run_directory(parser)


def _add_port(parser: Parser) -> None:
    port = whole_number(1024, LAST_BASE_PORT)
    text = "port for requests (%(default)s); the next four are used too"
    parser.add_argument("--port", type=port, default=DEFAULT_PORT, metavar="N", help=text)


def _add_run_directory(parser: Parser) -> None:
    text = "folder for the server's logs and state (build/server)"
    parser.add_argument("--run-directory", type=Path, default=DEFAULT_RUN_DIRECTORY, metavar="DIR", help=text)


if __name__ == "__main__":
    sys.exit(main())

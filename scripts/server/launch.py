"""Start TorchServe, or our own server, with separate settings, logs and temporary files."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from handler.servers.asgi.options import OptionError, parse_options
from scripts.errors import UsageError
from scripts.java import find_java_home
from scripts.server.asgi import launch_asgi, model_options
from scripts.server.logs import CONSOLE
from scripts.server.ports import LOOPBACK, Ports, ServerError
from scripts.server.properties import SETTINGS, with_ports
from scripts.server.run_folder import lock, new_logs
from scripts.server.running import TEMPORARY, Server, Software, remove_leftovers
from scripts.server.verified import split_keys, verified_copy

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config.properties"
LOGGING = ROOT / "log4j2.xml"
DEFAULT_RUN_DIRECTORY = ROOT / "build" / "server"
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (nothing is bound to them here)


def start(
    archive: Path,
    ports: Ports,
    run_directory: Path = DEFAULT_RUN_DIRECTORY,
    config: Path = CONFIG,
    software: Software = "torchserve",
    options: Sequence[str] = (),
    other_archives: Sequence[Path] = (),
) -> Server:
    """Start a server and return at once; call `wait_until_ready` before use.

    Args:
        archive: the model archive; the file's name is the model's name.
        ports: TorchServe listens on all of them, our own server only on the first.
        run_directory: folder for logs and state.
        config: TorchServe's config.properties.
        software: which server to start.
        options: further command-line options of our own server; for TorchServe, only keys that must have signed the archives.
        other_archives: archives of further models; for TorchServe they must be in the folder of the first.

    Raises:
        UsageError: an option is unknown or wrong.
        ServerError: an archive is missing or lacks a required signature, archives cannot be served together, a port is in use,
            or a server is already running in this run directory.
        JavaNotFound: no Java 17 or newer was found.
    """
    archives = [archive, *other_archives]
    with lock(run_directory):
        check_start(archives, ports, run_directory, software)
        keys, options = split_keys(options) if software == "torchserve" else ([], options)
        address = _address(archives, software, options)
        remove_leftovers(run_directory)
        logs = new_logs(run_directory)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY))
        try:
            if software == "torchserve":
                verified_archives = [verified_copy(path, keys, temporary) for path in archives]
                pid, started = _launch_torchserve(verified_archives, ports, config, logs, temporary)
            else:
                pid, started = launch_asgi(archives, ports.inference, temporary, logs / CONSOLE, options)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        names = tuple(path.stem for path in other_archives)
        server = Server(pid, started, ports, archive.stem, run_directory, temporary, software, *address, names)
        try:
            server.save()
        except OSError:  # A full disk, for example: without its state, `make stop` could not find this server.
            server.stop()
            raise
    return server


def _address(archives: Sequence[Path], software: Software, options: Sequence[str]) -> tuple[str, Path | None]:
    """Return the host at which this machine reaches the server, and the server's certificate, or None without TLS.

    Raises:
        UsageError: an option is unknown or wrong.
    """
    if software == "torchserve":
        if options:
            raise UsageError(f"unrecognized arguments for TorchServe: {' '.join(options)}; --server asgi has more options")
        return LOOPBACK, None
    try:
        arguments = [*model_options(archives), *options]
        server_options = parse_options(arguments, "python -m scripts.server start --server asgi", archives[0])
    except OptionError as error:
        raise UsageError(f"{error}; python {archives[0]} --help lists the server's options") from error
    host = LOOPBACK if server_options.host in _ANY_ADDRESS else server_options.host
    return host, server_options.certificate.absolute() if server_options.certificate else None


def check_start(archives: Sequence[Path], ports: Ports, run_directory: Path, software: Software) -> None:
    """Check that these archives can be served on these ports.

    Raises:
        ServerError: an archive is missing, archives cannot be served together, a port is in use, or a server is already
            running in this run directory.
    """
    for archive in archives:
        if not archive.is_file():
            raise ServerError(f"{archive}: no such archive; `make package` builds it")
    _require_compatible(archives, software)
    running = Server.find(run_directory)
    if running is not None:
        raise ServerError(f"a server is already running at {running.url}; `make stop` stops it")
    if software == "asgi" and ports.inference in ports.in_use():
        raise ServerError(f"port {ports.inference} is in use; choose a free one with PORT=")
    if software == "torchserve" and (used_ports := ports.in_use()):
        raise ServerError(f"port {', '.join(map(str, used_ports))} is in use; choose five free ports with PORT=")


def _require_compatible(archives: Sequence[Path], software: Software) -> None:
    folder = archives[0].parent
    by_model: dict[str, Path] = {}
    for archive in archives:
        if duplicate := by_model.get(archive.stem):
            raise ServerError(
                f"{archive}: its model would be {archive.stem!r}, like that of {duplicate}; name each archive once"
            )
        if software == "torchserve" and archive.parent.resolve() != folder.resolve():
            raise ServerError(f"{archive}: must be in {folder}, because TorchServe serves the archives of one folder")
        by_model[archive.stem] = archive


@contextmanager
def serving(
    archive: Path,
    ports: Ports,
    run_directory: Path = DEFAULT_RUN_DIRECTORY,
    config: Path = CONFIG,
    software: Software = "torchserve",
    options: Sequence[str] = (),
    other_archives: Sequence[Path] = (),
) -> Iterator[Server]:
    """Start a server, yield it once it is READY, and stop it after the block.

    Raises:
        ServerError: see `start` and `Server.wait_until_ready`.
        JavaNotFound: no Java 17 or newer was found.
    """
    server = start(archive, ports, run_directory, config, software, options, other_archives)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def environment(temporary: Path, logs: Path) -> dict[str, str]:
    """Return environment variables for a server that keeps temporary files and logs in these folders."""
    # PYTHONPATH comes first on a worker's import path, so its modules would hide the archive's own.
    inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "TS_CONFIG_FILE"}}
    return {
        **inherited,
        "JAVA_HOME": str(find_java_home()),
        "LOG_LOCATION": str(logs.resolve()),
        "METRICS_LOCATION": str(logs.resolve()),
        "TMPDIR": str(temporary),
        "TEMP": str(temporary),
    }


def _launch_torchserve(archives: Sequence[Path], ports: Ports, config: Path, logs: Path, temporary: Path) -> tuple[int, float]:
    settings = logs.parent / SETTINGS
    settings.write_text(with_ports(config.read_text(), ports))
    return _launch(_command(archives, settings), environment(temporary, logs), logs / CONSOLE)


def _command(archives: Sequence[Path], settings: Path) -> list[str]:
    return [
        *(str(Path(sys.executable).parent / "torchserve"), "--start", "--ncs"),
        *("--model-store", str(archives[0].parent.resolve())),
        *("--models", *(f"{archive.stem}={archive.name}" for archive in archives)),
        *("--ts-config", str(settings.resolve()), "--log-config", str(LOGGING)),
    ]


def _launch(command: list[str], environment: dict[str, str], console: Path) -> tuple[int, float]:
    """Run torchserve's launcher; return the id and start time of the process it leaves running."""
    with console.open("w") as output:
        launcher = subprocess.run(
            command,
            check=False,
            cwd=console.parent.parent,
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
        log_tail = console.read_text(errors="replace")[-2000:]
        raise ServerError(f"TorchServe ended at once, with exit code {launcher.returncode}\n{log_tail}") from error

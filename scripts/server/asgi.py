"""Start our own server, `handler.servers.asgi`, from an archive."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from scripts.server.ports import ServerError
from scripts.server.verified import requires_verification

ROOT = Path(__file__).parents[2]
#: Starts the server detached, so that the program that starts it need not wait for its end.
_DETACH = """
import json, subprocess, sys
with open(sys.argv[1], "a") as console:
    server = subprocess.Popen(
        sys.argv[2:], stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
    )
print(json.dumps(server.pid))
"""


def launch_asgi(
    archives: Sequence[Path], port: int, temporary: Path, console: Path, options: Sequence[str]
) -> tuple[int, float]:
    """Run the server with archives, extracted below `temporary`; return its process id and that process's start time.

    Args:
        archives: the models' archives; the first is run, unless signatures must be verified.
        port: where to listen.
        temporary: folder for the extracted archives and temporary files.
        console: file for what the server prints.
        options: further command-line options of the server.

    Raises:
        ServerError: the server ended at once.
    """
    server_arguments = [*_program(archives, options), "--port", str(port), "--cache", str(temporary)]
    server_arguments += ["--log-file", str(console.resolve()), *options]
    command = [sys.executable, "-c", _DETACH, str(console), sys.executable, *server_arguments]
    # The archive contains its own modules.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = inherited | ({"PYTHONPATH": str(ROOT)} if requires_verification(options) else {})
    launched = subprocess.run(command, check=True, env={**environment, "TMPDIR": str(temporary)}, stdout=subprocess.PIPE)
    pid: int = json.loads(launched.stdout)
    try:
        return pid, psutil.Process(pid).create_time()
    except psutil.NoSuchProcess as error:
        raise ServerError(f"the server ended at once\n{console.read_text(errors='replace')[-2000:]}") from error


def model_options(archives: Sequence[Path]) -> list[str]:
    """Return the options that name several archives; a single archive is run directly and needs none."""
    return _model_arguments(archives) if len(archives) > 1 else []


def _program(archives: Sequence[Path], options: Sequence[str]) -> list[str]:
    """Return Python's arguments: the first archive itself, or this repository's server if archives must be verified."""
    if requires_verification(options):
        return ["-m", "handler.servers.asgi", *_model_arguments(archives)]
    return [str(archives[0].resolve()), *model_options(archives)]


def _model_arguments(archives: Sequence[Path]) -> list[str]:
    return [argument for archive in archives for argument in ("--model", f"{archive.stem}={archive.resolve()}")]

"""Connect to a Ray cluster, or start a private Ray on this machine."""

import contextlib
import importlib.util
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial, wraps
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from scripts.errors import UserError

ROOT = Path(__file__).parents[1]
INSTALL_RAY = ".venv/bin/python -m pip install -c constraints.txt '.[ray]'"
#: Ray's store for objects over 100 KB; tasks and results here are smaller, and Ray's minimum is 75 MB.
_OBJECT_STORE_BYTES = 100_000_000
#: Folders of the project that nodes do not need; files in .gitignore are left out anyway.
_EXCLUDED_FOLDERS = (".git", "benchmarks", "deploy", "docs", "page", "tests", "tools")
#: A socket's path is limited to 107 bytes, and Ray uses about 70 of them below this folder.
_MAX_FOLDER_LENGTH = 32
#: Seconds within which a private Ray must start; a busy machine needs more than the 30 s that Ray allows.
_START_TIMEOUT_S = 180
#: Seconds within which a cluster must accept a connection.
_CONNECT_TIMEOUT_S = 30


def require_ray() -> None:
    """Check that Ray is installed, without importing it, which takes a second.

    Raises:
        UserError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"the package ray is not installed; install it with: {INSTALL_RAY}")


@contextlib.contextmanager
def connected(address: str | None, project: Path | None = ROOT) -> Iterator[ModuleType]:
    """Yield the module `ray`, connected to a cluster inside the block.

    Args:
        address: a running cluster, `auto`, `HOST:PORT` or `ray://HOST:PORT`; None for a private Ray on this machine, which
            ends with the block. A connection that this process already has is reused.
        project: a folder with this project, which a running cluster copies to its nodes; None if they already have it.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached.
    """
    require_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with contextlib.ExitStack() as cleanup:
        arguments: Mapping[str, Any] = {"address": address, "runtime_env": _runtime_environment(project)}
        if address is None:
            _set_password(cleanup)
            arguments = _private_ray_arguments(cleanup)
        ray = importlib.import_module("ray")
        if not ray.is_initialized():
            _require_listener(address)
            cleanup.callback(ray.shutdown)
            with contextlib.nullcontext() if address else _patched_start():
                _connect(ray, arguments, "on this machine" if address is None else f"at {address}")
        yield ray


def _require_listener(address: str | None) -> None:
    """Check that something listens at `HOST:PORT`: Ray itself would try for minutes.

    Raises:
        UserError: nothing does.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # A special value of Ray's, such as `auto`.
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"Ray at {address} cannot be reached: {getattr(error, 'strerror', None) or error}") from error


def _connect(ray: ModuleType, arguments: Mapping[str, Any], location: str) -> None:
    try:
        ray.init(**arguments, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises nothing more specific when a node does not start within half a minute.
        raise UserError(f"Ray {location} cannot be used: {str(error).strip().splitlines()[0]}") from error


@contextlib.contextmanager
def _patched_start() -> Iterator[None]:
    """Patch Ray so that its processes may start slowly, and outside this program's process group.

    `timeout` and a shell's `kill %1` signal the whole group. Ray Serve's controller would then be gone before it could end the
    replicas, and this program would wait for it in vain. Ray 2.60 has no option for either.
    """
    services = importlib.import_module("ray._private.services")
    with (
        patch.object(services, "ConsolePopen", partial(services.ConsolePopen, process_group=0)),
        patch.object(services, "get_node", _patient_get_node(services.get_node)),
    ):
        yield


def _patient_get_node(get_node: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `get_node` that waits until the node is known; Ray itself waits for 30 s, which cannot be configured."""

    @wraps(get_node)
    def waiting(*arguments: Any) -> Any:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    return waiting


def _set_password(cleanup: contextlib.ExitStack) -> None:
    """Protect Ray with a token: it listens on all of the machine's addresses and runs any code it receives.

    By default Ray would write a token into the home folder, which every later Ray would use. Ray reads the variables when it is
    imported, so they have no effect in a process that has already imported it.
    """
    if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        password = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        os.environ.update(password)
        for name in password:
            cleanup.callback(os.environ.pop, name, None)


def _private_ray_arguments(cleanup: contextlib.ExitStack) -> Mapping[str, Any]:
    folder = tempfile.gettempdir()
    if len(folder) > _MAX_FOLDER_LENGTH:
        folder = "/tmp"  # noqa: S108 (a private folder is made in it)
    temporary = tempfile.TemporaryDirectory(prefix="ray-", dir=folder, ignore_cleanup_errors=True)
    return {
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_temp_dir": cleanup.enter_context(temporary),
    }


def _runtime_environment(project: Path | None) -> Mapping[str, Any] | None:
    if project is None:
        return None
    return {"working_dir": str(project), "excludes": [f"/{name}/" for name in _EXCLUDED_FOLDERS]}

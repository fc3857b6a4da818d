"""The executors, by their names for `--engine`."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from handler.servers.asgi.options import VERIFY_KEY
from scripts.arguments import existing_file, one_of, positive_int
from scripts.bulk.executors.base import Executor
from scripts.bulk.executors.local import LocalExecutor
from scripts.bulk.executors.ray import RayExecutor, RayOptions
from scripts.errors import UsageError
from scripts.ray_cluster import require_ray

ENGINES = ("local", "ray")


def add_model_options(parser: ArgumentParser) -> None:
    """Add `--archive` and `--verify-key` to a program."""
    parser.add_argument("--archive", type=_archive, required=True, metavar="FILE", help="the model, a .mar")
    parser.add_argument(
        VERIFY_KEY,
        type=existing_file,
        action="append",
        default=[],
        metavar="FILE",
        help="public key; the archive must be signed (python -m scripts.sign); repeatable, one must have signed",
    )


def _archive(text: str) -> Path:
    try:
        return existing_file(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}; `make package` builds build/model-store/deeplabv3.mar") from None


def add_engine_options(parser: ArgumentParser) -> None:
    """Add `--engine`, `--address` and `--jobs` to a program."""
    parser.add_argument(
        "--engine", type=one_of(ENGINES), default="local", metavar="NAME", help="local: processes here; ray: a Ray cluster"
    )
    parser.add_argument("--address", metavar="ADDRESS", help="address of the Ray cluster; by default Ray is started here")
    parser.add_argument(
        "--jobs", type=positive_int, metavar="N", help="processes; by default one per core of this machine, or of the cluster"
    )


def make_executor(arguments: Namespace) -> Executor:
    """Return the executor chosen with the options of `add_engine_options`.

    Raises:
        UsageError: `--address` is given for an engine without one.
        UserError: Ray is not installed.
    """
    if arguments.engine == "local":
        if arguments.address:
            raise UsageError(f"--address {arguments.address}: is for --engine ray; the engine is 'local'")
        return LocalExecutor(arguments.jobs or usable_cores())
    require_ray()
    return RayExecutor(RayOptions(address=arguments.address, jobs=arguments.jobs))


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

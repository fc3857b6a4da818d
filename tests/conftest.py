"""Fixtures, options and markers of all tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import settings

from model import torchvision_ops  # noqa: F401, before any test imports torchvision
from tests.fuzz.recorder import Fuzz
from tests.support import CHECKPOINT, ROOT, write_checkpoint, write_graph

if TYPE_CHECKING:
    from tests.quantized import Quantized

pytest_plugins = ("tests.speed",)

_TESTS = Path(__file__).parent
#: Tests in these folders package, serve or try thousands of inputs.
_SLOW_FOLDERS = {"fuzz", "live", "packaging"}
#: These take many seconds, so tests that share one run in one process.
_SHARED = {
    "batching_server": "server",
    "default_archive": "server",
    "quantized": "quantized",
    "server": "server",
    "torchserve": "server",
    "asgi_server": "server",
    "small_archive": "small_archive",
}
#: Tests of one file share fixtures and so run in one process; those of these files share none and take minutes together.
_SPREAD = {"unit/scripts/training/test_train.py", "unit/scripts/training/test_trainer.py"}

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes that share the cores are slower with threads that wait for each other.
    torch.set_num_threads(1)
_THREADS = torch.get_num_threads()

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.register_profile("few", deadline=None, max_examples=10)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz", type=int, default=2_000, help="number of inputs of the offline fuzz tests")
    group.addoption("--fuzz-requests", type=int, default=300, help="number of requests of the live fuzz test")
    group.addoption("--fuzz-seed", type=int, default=0, help="seed of the inputs")
    group.addoption(
        "--fuzz-folder", type=Path, default=ROOT / "build" / "fuzz", help="folder for failing inputs and measurements"
    )


def pytest_report_header(config: pytest.Config) -> str:
    option = config.getoption
    return f"fuzz: {option('--fuzz')} inputs, {option('--fuzz-requests')} requests, seed {option('--fuzz-seed')}"


# Before `-m` selects.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as `live` and `slow` by their folders and fixtures, and group those that run in one process."""
    for item in items:
        relative = item.path.relative_to(_TESTS)
        shared = [_SHARED[name] for name in getattr(item, "fixturenames", ()) if name in _SHARED]
        if relative.parts[0] == "live":
            item.add_marker("live")
        if relative.parts[0] in _SLOW_FOLDERS or shared:
            item.add_marker("slow")
        if shared or relative.as_posix() not in _SPREAD:
            item.add_marker(pytest.mark.xdist_group(shared[0] if shared else str(relative)))


@pytest.fixture(autouse=True)
def _torch_threads() -> Iterator[None]:
    """Restore torch's number of threads, which a service changes when it runs in this process."""
    yield
    if torch.get_num_threads() != _THREADS:
        torch.set_num_threads(_THREADS)


@pytest.fixture(scope="session")
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """Return the number of inputs, the seed and the folder that the command line names."""
    option = request.config.getoption
    return Fuzz(option("--fuzz"), option("--fuzz-seed"), option("--fuzz-folder"))


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small checkpoint and its converted graph into a folder laid out like an archive; converting takes seconds."""
    folder = tmp_path_factory.mktemp("converted")
    write_checkpoint(folder / CHECKPOINT)
    return write_graph(folder)


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory, converted: Path) -> Path:
    """Package the checkpoint of `converted` under the name `pets`."""
    from scripts.package import DEFAULT_MODEL_CONFIG, Recipe, build

    return build(Recipe("pets", "1.0", converted / CHECKPOINT, DEFAULT_MODEL_CONFIG), tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> "Quantized":
    """Quantize a small network to 8-bit integers."""
    # Imports the training libraries, which takes seconds.
    from tests.quantized import quantized_in

    return quantized_in(tmp_path_factory.mktemp("quantized"))

"""Fixtures, options and markers of all tests."""

import gc
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import settings

from model import torchvision_ops  # noqa: F401, before any test imports torchvision
from tests.built_once import built_once
from tests.fuzz.recorder import Fuzz
from tests.support import CHECKPOINT, ROOT, write_checkpoint, write_graph

if TYPE_CHECKING:
    from tests.quantized import Quantized

pytest_plugins = ("tests.speed",)

_TESTS = Path(__file__).parent
#: The tests in these folders package, serve or try thousands of inputs.
_SLOW_FOLDERS = {"fuzz", "live", "packaging"}
#: These take seconds to start, so tests that share the fixtures of tests/live run in one process.
_SERVERS = {"asgi_server", "batching_server", "busy_server", "server", "torchserve"}
#: Tests with these fixtures are slow as well, but the fixtures are built once for all processes.
_ARTEFACTS = {"converted", "default_archive", "quantized", "served_archive", "small_archive"}
#: The line that marks files in which every test is slow.
_SLOW_FILE = "\npytestmark = pytest.mark.slow\n"
#: Tests of one file share fixtures and run in one process; the tests of these files share none and take a minute together.
_SPREAD = {f"unit/scripts/training/test_{name}.py" for name in ("train", "train_refusals", "trainer")}

# Processes that share the cores are slower if they use several threads, which wait for each other.
_THREADS = 1
torch.set_num_threads(_THREADS)

# An example's time depends on the machine's load. Each run draws different examples, so over time a property is tested
# with more of them than one run draws. `make check` draws few, `make test-all` many.
for name, examples in {"few": 5, "some": 10, "many": 300}.items():
    settings.register_profile(name, deadline=None, max_examples=examples)
settings.load_profile("some")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="run the tests marked exhaustive too")
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz", type=int, default=400, help="number of inputs of the offline fuzz tests")
    group.addoption("--fuzz-requests", type=int, default=150, help="number of requests of the live fuzz test")
    group.addoption("--fuzz-seed", type=int, default=0, help="seed of the inputs")
    group.addoption(
        "--fuzz-folder", type=Path, default=ROOT / "build" / "fuzz", help="folder for failing inputs and measurements"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip files in which every test is slow if no slow test will run, because their imports take seconds."""
    only_fast = config.option.markexpr == "not slow" and collection_path.match("test_*.py")
    return (only_fast and _SLOW_FILE in collection_path.read_text()) or None


def pytest_collection() -> None:
    """Disable garbage collection while tests are collected: imports stay, and scanning them takes seconds."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long bytes by their argument: gzip's output contains the time, and all processes must collect the same names.

    Long texts too: each name is sent between processes and printed.
    """
    if isinstance(val, bytes):
        return argname if len(val) > 16 else None
    return argname if isinstance(val, str) and len(val) > 1_000 else None


def pytest_report_header(config: pytest.Config) -> str:
    option = config.getoption
    return f"fuzz: {option('--fuzz')} inputs, {option('--fuzz-requests')} requests, seed {option('--fuzz-seed')}"


# Before `-m` selects.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests as `live` and `slow` by their folders and fixtures, and group those that run in one process."""
    if not config.getoption("exhaustive"):
        _deselect_exhaustive(config, items)
    for item in items:
        relative = item.path.relative_to(_TESTS)
        fixtures: Collection[str] = getattr(item, "fixturenames", ())
        if relative.parts[0] == "live":
            item.add_marker("live")
        if relative.parts[0] in _SLOW_FOLDERS or not (_SERVERS | _ARTEFACTS).isdisjoint(fixtures):
            item.add_marker("slow")
        if _shares_servers(item):
            item.add_marker(pytest.mark.xdist_group("servers"))
        elif relative.as_posix() not in _SPREAD:
            item.add_marker(pytest.mark.xdist_group(str(relative)))
    if "PYTEST_XDIST_WORKER" in os.environ:
        _put_long_groups_first(items)


def _shares_servers(item: pytest.Item) -> bool:
    """Whether a test uses a server of tests/live/conftest.py; some files define servers with the same names."""
    fixtures = getattr(item, "_fixtureinfo", None)
    definitions = [fixtures.name2fixturedefs.get(name) for name in _SERVERS] if fixtures else []
    return any(overrides[-1].baseid == "tests/live" for overrides in definitions if overrides)


def _deselect_exhaustive(config: pytest.Config, items: list[pytest.Item]) -> None:
    deselected = [item for item in items if item.get_closest_marker("exhaustive")]
    items[:] = [item for item in items if item.get_closest_marker("exhaustive") is None]
    config.hook.pytest_deselected(items=deselected)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """Stop if pytest-xdist ignores the groups: every process would start every server and build every fixture."""
    grouped = [name for name in ids if name.partition("::")[0].removeprefix("tests/") not in _SPREAD]
    has_names = all(name.rfind("@") > name.rfind("]") for name in grouped)
    if node.config.getoption("dist") == "loadgroup" and not has_names:
        pytest.exit(f"pytest-xdist does not group tests with pytest {pytest.__version__}; install the pinned versions", 4)


def _put_long_groups_first(items: list[pytest.Item]) -> None:
    """Order groups so that processes finish at about the same time: groups with servers first, small groups last."""

    def group(item: pytest.Item) -> str:
        marker = item.get_closest_marker("xdist_group")
        return str(marker.args[0]) if marker else item.nodeid

    tests = Counter(map(group, items))
    slow = Counter(group(item) for item in items if item.get_closest_marker("slow"))
    has_server = {group(item) for item in items if item.path.relative_to(_TESTS).parts[0] in _SLOW_FOLDERS}
    items.sort(key=lambda item: (group(item) not in has_server, -slow[group(item)], -tests[group(item)], group(item)))


@pytest.fixture(autouse=True)
def _torch_threads() -> Iterator[None]:
    """Restore torch's number of threads, which a service running in this process changes."""
    yield
    if torch.get_num_threads() != _THREADS:
        torch.set_num_threads(_THREADS)


@pytest.fixture(scope="session")
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """Return the number of inputs, the seed and the folder from the command line."""
    option = request.config.getoption
    return Fuzz(option("--fuzz"), option("--fuzz-seed"), option("--fuzz-folder"))


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder laid out like an archive, with a small checkpoint and its converted graph."""

    def build(folder: Path) -> None:
        write_checkpoint(folder / CHECKPOINT)
        write_graph(folder)

    return built_once(tmp_path_factory, "converted", build)


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory, converted: Path) -> Path:
    """Return an archive named `pets` of the checkpoint in `converted`, with the samples beside it as its reference."""
    from scripts.package import DEFAULT_MODEL_CONFIG, Recipe
    from scripts.package.build import build
    from scripts.samples import ALL, write_samples

    def build_archive(folder: Path) -> None:
        photographs = folder / "photographs"
        write_samples(photographs, ALL)
        build(Recipe("pets", "1.0", converted / CHECKPOINT, DEFAULT_MODEL_CONFIG, reference=photographs), folder)

    return built_once(tmp_path_factory, "small_archive", build_archive) / "pets.mar"


@pytest.fixture(scope="session")
def default_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the default model's archive as built by `make package`, beside its proof."""
    from scripts.package.__main__ import main

    def package(folder: Path) -> None:
        assert main(["--class-names", str(ROOT / "index_to_name.json"), "--out", str(folder)]) == 0

    return built_once(tmp_path_factory, "default_archive", package) / "deeplabv3.mar"


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> "Quantized":
    """Return a small network quantized to 8-bit integers."""
    # Imports the training libraries, which takes seconds.
    from tests.quantized import Quantized, quantize_in

    return Quantized.in_folder(built_once(tmp_path_factory, "quantized", quantize_in))

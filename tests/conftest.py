"""For all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.fuzz.recorder import Fuzz
from tests.quantized import Quantized, quantized_in
from tests.support import ROOT

_THREADS = torch.get_num_threads()

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz", type=int, default=2_000, help="inputs of the offline fuzz tests together")
    group.addoption("--fuzz-requests", type=int, default=300, help="requests of the live one")
    group.addoption("--fuzz-seed", type=int, default=0, help="another number, other inputs")
    group.addoption(
        "--fuzz-folder", type=Path, default=ROOT / "build" / "fuzz", help="where inputs that fail, and figures, are written"
    )


def pytest_report_header(config: pytest.Config) -> str:
    option = config.getoption
    return f"fuzz: {option('--fuzz')} inputs, {option('--fuzz-requests')} requests, seed {option('--fuzz-seed')}"


@pytest.fixture(autouse=True)
def _torch_threads() -> Iterator[None]:
    """A service that is tried in this process leaves torch as many threads as it had, even one that several tests share."""
    yield
    if torch.get_num_threads() != _THREADS:
        torch.set_num_threads(_THREADS)


@pytest.fixture(scope="session")
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """What `--fuzz`, `--fuzz-seed` and `--fuzz-folder` say."""
    option = request.config.getoption
    return Fuzz(option("--fuzz"), option("--fuzz-seed"), option("--fuzz-folder"))


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """A small network in 8-bit integers."""
    return quantized_in(tmp_path_factory.mktemp("quantized"))

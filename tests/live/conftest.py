"""Real servers on free ports, with real photographs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from scripts.package import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, Recipe, build
from scripts.samples import write_samples
from scripts.server import Ports, Server, serving
from tests.support import encode


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample photographs: `astronaut` (512×512) and `chelsea` (451×300)."""
    return {path.stem: path for path in write_samples(tmp_path_factory.mktemp("samples"))}


@pytest.fixture(scope="session")
def thumbnail(photos: dict[str, Path]) -> bytes:
    """`chelsea` at 90×60, as a PNG: little to decode and to answer."""
    with Image.open(photos["chelsea"]) as photo:
        return encode(photo.convert("RGB").resize((90, 60)))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, default_archive: Path) -> Iterator[Server]:
    """The default model, as `make serve` runs it."""
    yield from _serve(tmp_path_factory, default_archive)


@pytest.fixture(scope="session")
def batching_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The default model with batches of up to 8, for which a request waits long enough to be joined."""
    config = tmp_path_factory.mktemp("config") / "model-config.yaml"
    text = DEFAULT_MODEL_CONFIG.read_text().replace("batchSize: 4 ", "batchSize: 8 ")
    config.write_text(text.replace("maxBatchDelay: 1 ", "maxBatchDelay: 1500 "))
    archive = build(Recipe("deeplabv3", "1.0", DEFAULT_CHECKPOINT, config), tmp_path_factory.mktemp("store"))
    yield from _serve(tmp_path_factory, archive)


@pytest.fixture(scope="session")
def default_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model's, as `make package` builds it."""
    return build(Recipe("deeplabv3", "1.0", DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG), tmp_path_factory.mktemp("store"))


def _serve(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with serving(archive, Ports.free(), folder / "run") as server:
        yield server
    assert not server.temporary.exists()

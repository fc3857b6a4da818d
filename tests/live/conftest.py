"""Real servers on free ports, with real photographs.

Servers have package scope: they stop while other processes still test, not one after the other at the end of the session.
"""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from scripts.samples import write_samples
from scripts.server import CONFIG, Ports, Server, Software, serving
from tests.archives import copy_with_settings, copy_with_size
from tests.built_once import built_once
from tests.live.cross_origin import ORIGIN, cross_origin_settings
from tests.live.ray_server import ON_RAY, RayServer, serving_on_ray
from tests.support import encode

# TorchServe runs for only a minute here: a second compiler and a second collector cost more than they save.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the sample photographs: `astronaut` (512×512) and `chelsea` (451×300)."""
    return {path.stem: path for path in write_samples(tmp_path_factory.mktemp("samples"))}


@pytest.fixture(scope="session")
def thumbnail(photos: dict[str, Path]) -> bytes:
    """Return `chelsea` at 90×60, a PNG that is quick to decode and segment."""
    with Image.open(photos["chelsea"]) as photo:
        return encode(photo.convert("RGB").resize((90, 60)))


#: Tests of the contract, which both servers and Ray Serve follow. The other tests run against TorchServe.
_CONTRACT_MODULES = {
    *("test_client_libraries", "test_contract", "test_errors", "test_fuzz", "test_kserve", "test_memory"),
    *("test_nginx", "test_predictions", "test_telemetry"),
}
#: What is impossible on Ray Serve, and why.
_NOT_ON_RAY = {
    "test_kserve_sdk_answers_over_grpc_equal_those_over_http": "Ray Serve's gRPC proxy has only services of Ray Serve",
}
#: Tests of the core that both servers share: TorchServe need not repeat them, except in exhaustive runs. Its adapter is tested
#: by tests/fuzz/test_service.py, which gives it broken rows, and by test_two_servers.py, which compares formats.
_EXHAUSTIVE_ON_TORCHSERVE = {
    "test_an_idle_worker_returns_memory_after_any_load",
    "test_fuzzing_leaks_neither_memory_nor_files_nor_connections",
    "test_every_accepted_file_format_is_decoded",
    "test_exif_orientation_gives_an_upright_mask",
    "test_json_and_png_have_the_same_labels",
    "test_the_mask_has_the_size_of_the_image",
    "test_the_overlay_is_the_tinted_photograph",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if "server" in metafunc.fixturenames and module in _CONTRACT_MODULES:
        name = metafunc.function.__name__
        torchserve_marks = [pytest.mark.exhaustive] if name in _EXHAUSTIVE_ON_TORCHSERVE else []
        ray_marks = [pytest.mark.skip(reason=reason)] if (reason := _NOT_ON_RAY.get(name)) else []
        servers = [pytest.param("torchserve", marks=torchserve_marks), "asgi", pytest.param("ray", marks=[*ON_RAY, *ray_marks])]
        metafunc.parametrize("server", servers, indirect=True, scope="package")
    if "busy_server" in metafunc.fixturenames:
        metafunc.parametrize("busy_server", ["torchserve", "asgi"], indirect=True, scope="package")


@pytest.fixture(scope="package")
def server(request: pytest.FixtureRequest) -> Server:
    """Return the server under test."""
    name = getattr(request, "param", "torchserve")
    fixtures = {"torchserve": "torchserve", "asgi": "asgi_server", "ray": "ray_server"}
    server: Server = request.getfixturevalue(fixtures[name])
    return server


@pytest.fixture(scope="session")
def scenes_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archive `scenes.mar` as `make demo` builds it, beside its proof."""
    from scripts.package.__main__ import main

    def package(folder: Path) -> None:
        assert main(["--model", "scenes", "--out", str(folder)]) == 0

    return built_once(tmp_path_factory, "scenes_archive", package) / "scenes.mar"


@pytest.fixture(scope="session")
def served_archive(tmp_path_factory: pytest.TempPathFactory, default_archive: Path, request: pytest.FixtureRequest) -> Path:
    """Return the default model's archive; except in exhaustive runs, images are resized to half the side.

    The network then takes a quarter of the time.
    """
    if request.config.getoption("exhaustive"):
        return default_archive

    def shrink(folder: Path) -> None:
        copy_with_size(default_archive, folder, 320)

    return built_once(tmp_path_factory, "served_archive", shrink) / default_archive.name


@pytest.fixture(scope="session")
def served_checkpoint(tmp_path_factory: pytest.TempPathFactory, served_archive: Path) -> Path:
    """Return the checkpoint in `served_archive`."""
    with zipfile.ZipFile(served_archive) as archive:
        return Path(archive.extract("model.safetensors", tmp_path_factory.mktemp("served_checkpoint")))


@pytest.fixture(scope="package")
def torchserve(tmp_path_factory: pytest.TempPathFactory, served_archive: Path) -> Iterator[Server]:
    """Serve the default model with TorchServe, as `make serve` does."""
    yield from _serve(tmp_path_factory, served_archive)


@pytest.fixture(scope="package")
def asgi_server(tmp_path_factory: pytest.TempPathFactory, served_archive: Path) -> Iterator[Server]:
    """Serve the default model with the server without Java, as `make serve SERVER=asgi` does, and over gRPC."""
    yield from _serve(tmp_path_factory, served_archive, software="asgi")


@pytest.fixture(scope="package")
def ray_server(tmp_path_factory: pytest.TempPathFactory, served_archive: Path) -> Iterator[RayServer]:
    """Serve the default model with one replica of Ray Serve."""
    with serving_on_ray(served_archive, tmp_path_factory.mktemp("ray")) as server:
        yield server


@pytest.fixture(scope="package")
def batching_server(tmp_path_factory: pytest.TempPathFactory, served_archive: Path) -> Iterator[Server]:
    """Serve the default model in batches of up to 8; a request waits long enough for others to join it.

    Pages of `ORIGIN` may call it.
    """
    batches = {"batchSize": 8, "maxBatchDelay": 1500}
    archive = copy_with_settings(served_archive, tmp_path_factory.mktemp("store"), lambda settings: settings.update(batches))
    config = tmp_path_factory.mktemp("config") / "config.properties"
    config.write_text(CONFIG.read_text() + cross_origin_settings(ORIGIN))
    yield from _serve(tmp_path_factory, archive, config)


@pytest.fixture(scope="package")
def busy_server(request: pytest.FixtureRequest) -> Server:
    """Return the server under test, to which requests are sent together."""
    server: Server = request.getfixturevalue({"torchserve": "batching_server", "asgi": "asgi_server"}[request.param])
    return server


def _serve(
    tmp_path_factory: pytest.TempPathFactory, archive: Path, config: Path = CONFIG, software: Software = "torchserve"
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    ports = Ports.free()
    options = ("--grpc-port", str(ports.grpc_inference)) if software == "asgi" else ()
    with serving(archive, ports, folder / "run", config, software, options) as server:
        yield server
    assert not server.temporary.exists()

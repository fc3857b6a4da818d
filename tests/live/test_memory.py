"""A worker under every kind of load returns the memory that the load took."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
import requests
from PIL import Image

from model import read_metadata
from scripts.package import DEFAULT_CHECKPOINT
from scripts.server import Server
from tests.live.client import TIMEOUT_S, post
from tests.live.memory import require_low_memory
from tests.live.routes import explanations_url

_SIZES = ((640, 480), (480, 640), (1280, 960), (3000, 3000))


def test_an_idle_worker_returns_memory_after_any_load(
    server: Server, served_checkpoint: Path, photos: dict[str, Path], request: pytest.FixtureRequest
) -> None:
    # The network gets images of the default model's size.
    scale = read_metadata(DEFAULT_CHECKPOINT).resize.size / read_metadata(served_checkpoint).resize.size
    options = (
        {"X-Segment-Format": "json", "X-Segment-Scales": f"{scale}"},
        {"X-Segment-Format": "overlay", "X-Segment-Scales": f"{scale}"},
        {"X-Segment-Format": "geojson", "X-Segment-Scales": f"{scale}"},
        {"X-Segment-Format": "npz", "X-Segment-Scales": f"{scale / 2},{scale}", "X-Segment-Flip": "true"},
        {"X-Segment-Format": "png", "X-Segment-Scales": f"{scale}", "X-Segment-Tiles": "3"},
    )
    with Image.open(photos["astronaut"]) as photo:
        images = [_jpeg(photo, size) for size in _SIZES]
    calls = list(itertools.product(images, options))
    if not request.config.getoption("exhaustive"):
        # Every size and option, and the largest image in the two ways that take most memory.
        calls = [*zip(images, options, strict=False), (images[-1], options[4])]

    with ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(lambda call: post(server, *call).status_code, calls))
    explanation = requests.post(explanations_url(server), data=images[0], timeout=TIMEOUT_S)

    assert statuses == {200}
    assert explanation.status_code == 200
    require_low_memory(server)


def _jpeg(photo: Image.Image, size: tuple[int, int]) -> bytes:
    buffer = BytesIO()
    photo.convert("RGB").resize(size).save(buffer, "JPEG")
    return buffer.getvalue()

"""The page in a browser: Chromium against a real server with several models, driven by `page/e2e`."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.server import CONFIG, Ports, Server, serving
from tests.archives import copy_with_class_names, copy_with_settings
from tests.live.cross_origin import ORIGIN
from tests.live.page_exports import EDITED_READERS, Mask, geojson_masks
from tests.node import find_chromium, find_npm, try_page

#: New class names of the model `scenes`, which page/e2e/models.ts looks for.
_MARKUP = {"wall": "<img src=x onerror=alert(1)>", "floor": '"><script>alert(2)</script>'}
_TWELVE_MEGAPIXELS = (4000, 3000)


@dataclass(frozen=True)
class Run:
    """What the browser's tests printed and saved."""

    output: str
    saved: Path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    """Return a folder with `astronaut.jpg` and `chelsea.jpg`; in exhaustive runs `large.jpg` too, of 12 megapixels."""
    folder = tmp_path_factory.mktemp("photographs")
    for path in photos.values():
        shutil.copy(path, folder)
    if request.config.getoption("exhaustive"):
        with Image.open(photos["chelsea"]) as photo:
            photo.resize(_TWELVE_MEGAPIXELS).save(folder / "large.jpg")
    return folder


@pytest.fixture(scope="module")
def page_server(
    tmp_path_factory: pytest.TempPathFactory, default_archive: Path, request: pytest.FixtureRequest
) -> Iterator[Server]:
    """Serve the default model, and `scenes` with class names that are markup."""
    # If they are missing, tests are skipped before servers are started for them.
    find_npm()
    find_chromium()
    scenes = copy_with_class_names(request.getfixturevalue("scenes_archive"), tmp_path_factory.mktemp("markup"), _MARKUP)
    # A coarser network proves as much about the page, and takes half the time.
    store = tmp_path_factory.mktemp("store")
    archives = [copy_with_settings(archive, store, _use_three_quarter_scale) for archive in (default_archive, scenes)]
    folder = tmp_path_factory.mktemp("page") / "run"
    with serving(archives[0], Ports.free(), folder, CONFIG, "asgi", ("--allow-origin", ORIGIN), archives[1:]) as running:
        yield running


def _use_three_quarter_scale(settings: dict[str, Any]) -> None:
    settings["handler"]["inference"]["scales"] = [0.75]


@pytest.fixture(scope="module")
def run(
    page_server: Server, photographs: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Run:
    saved = tmp_path_factory.mktemp("saved")
    address = page_server.url.partition("predictions")[0]
    exhaustive = "1" if request.config.getoption("exhaustive") else ""
    output = try_page(address, photographs, "page", OTHER_ORIGIN=f"{ORIGIN}/", SAVED=str(saved), EXHAUSTIVE=exhaustive)
    return Run(output, saved)


def test_users_can_inspect_and_rate_masks_and_compare_models(run: Run) -> None:
    # Shown by `pytest -s --exhaustive`; figures are reported, never asserted.
    sys.stdout.writelines(f"{line}\n" for line in run.output.splitlines() if line.startswith("figures: "))
    assert "1 passed" in run.output


@pytest.mark.parametrize("name", EDITED_READERS)
def test_edited_polygons_are_read_by_the_tools_of_their_formats(run: Run, name: str) -> None:
    expected = geojson_masks((run.saved / "edited" / "geojson").read_text())

    masks = EDITED_READERS[name](run.saved / "edited" / name)

    assert masks.keys() == expected.keys()
    for label, mask in masks.items():
        # Labelme draws outlines too.
        assert _overlap(mask, expected[label]) > (0.9 if name == "labelme" else 0.99), label


def _overlap(a: Mask, b: Mask) -> float:
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))

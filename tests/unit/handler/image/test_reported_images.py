"""Scenes like those that users reported get the same labels as the photograph they were made from (default model)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from PIL import Image
from rasterio import Affine
from skimage import data

from handler.errors import InvalidOption
from handler.segmenter import Segmenter
from scripts.package import DEFAULT_CHECKPOINT

CAT: npt.NDArray[np.uint8] = data.chelsea()  # type: ignore[no-untyped-call]
RED, GREEN, BLUE = np.moveaxis(CAT.astype(np.float64), -1, 0)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(DEFAULT_CHECKPOINT, engine="torch")


@pytest.fixture(scope="module")
def labels(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> npt.NDArray[np.unsignedinteger]:
    path = tmp_path_factory.mktemp("cat") / "cat.jpg"
    Image.fromarray(CAT).save(path, quality=95)
    return segmenter(path).label_map


def write(path: Path, bands: list[npt.NDArray[np.float64]], dtype: str, **options: object) -> Path:
    georeference = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    height, width = CAT.shape[:2]
    with rasterio.open(path, "w", "GTiff", width, height, len(bands), dtype=dtype, **georeference, **options) as file:
        file.write(np.stack(bands).astype(dtype))
    return path


def test_16_bit_reflectance_with_range_auto(tmp_path: Path, segmenter: Segmenter, labels: npt.NDArray[np.generic]) -> None:
    scene = write(tmp_path / "scene.tif", [RED * 12, GREEN * 12, BLUE * 12], "uint16", photometric="RGB")

    assert np.mean(segmenter(scene, range="auto").label_map == labels) >= 0.97
    assert np.mean(segmenter(scene, range=(0, 255 * 12)).label_map == labels) >= 0.99
    assert np.mean(segmenter(scene).label_map == labels) < 0.6


def test_near_infrared_beside_rgb(tmp_path: Path, segmenter: Segmenter, labels: npt.NDArray[np.generic]) -> None:
    scene = write(tmp_path / "scene.tif", [RED, GREEN, BLUE, GREEN], "uint8")

    assert np.mean(segmenter(scene).label_map == labels) >= 0.99


def test_five_bands_in_any_order(tmp_path: Path, segmenter: Segmenter, labels: npt.NDArray[np.generic]) -> None:
    scene = write(tmp_path / "scene.tif", [RED, GREEN, BLUE, GREEN, RED], "uint8")
    reversed_scene = write(tmp_path / "reversed.tif", [GREEN, BLUE, GREEN, RED, RED], "float64")

    assert np.mean(segmenter(scene).label_map == labels) >= 0.99
    assert np.mean(segmenter(reversed_scene, bands=[4, 3, 2], range=[0, 255]).label_map == labels) >= 0.99
    with pytest.raises(InvalidOption, match="no band 6; the TIFF has 5 bands of uint8"):
        segmenter(scene, bands=[6, 1, 2])

"""Rasters in, rasters and polygons out: positions, sample types, interruptions."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.shutil import copy
from rasterio.transform import from_origin

from handler.options import ReadingOptions
from scripts.rasters.command import find_rasters
from scripts.rasters.errors import RasterError
from scripts.rasters.gdal import without_georeference_warnings
from scripts.rasters.plan import WindowOptions
from scripts.rasters.reading import RasterOptions
from scripts.rasters.run import RasterJob
from tests.unit.scripts.rasters.support import SMALL_BLOCKS, UTM, VOID, InProcessExecutor, colours, read, segment, write_raster


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    size=st.tuples(st.integers(40, 260), st.integers(40, 260)),
    window=st.integers(64, 140),
    overlap=st.integers(16, 46),
    resolution=st.sampled_from([None, 0.3, 0.5, 0.7, 1.1]),
    seed=st.integers(0, 5),
)
@example(size=(40, 40), window=64, overlap=18, resolution=1.1, seed=0)  # For the network, no larger than an overlap.
def test_windows_give_the_labels_of_the_whole_raster(
    tmp_path_factory: pytest.TempPathFactory,
    size: tuple[int, int],
    window: int,
    overlap: int,
    resolution: float | None,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("windows")
    source = write_raster(folder / "in.tif", bands := colours(*size, seed))
    options = RasterOptions(resolution=resolution)
    overlap = min(overlap, window // 3)
    with SMALL_BLOCKS:
        segment(RasterJob(source, folder / "cut", options=options, window_options=WindowOptions(window, overlap)))
    segment(RasterJob(source, folder / "uncut", options=options, window_options=WindowOptions(1024, 16)))
    labels = read(folder / "cut.labels.tif")
    assert np.array_equal(labels, read(folder / "uncut.labels.tif"))
    if resolution is None:
        assert np.array_equal(labels, bands.argmax(axis=0))


@pytest.mark.parametrize(
    "profile",
    [
        UTM,
        {"crs": None, "transform": Affine.identity()},
        {"crs": "EPSG:32633", "transform": Affine(0.4, 0.3, 5e5, 0.3, -0.4, 5e6)},
        {"crs": "EPSG:2263", "transform": from_origin(9.8e5, 2e5, 1, 1)},
        {"crs": "EPSG:4326", "transform": from_origin(-0.01, 0.01, 1e-4, 1e-4)},
        {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 5e5, 0, 0.5, 5e6)},
    ],
    ids=["utm", "no crs", "rotated", "feet", "degrees", "south up"],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_labels_are_aligned_with_the_raster(tmp_path: Path, profile: dict[str, Any]) -> None:
    source = write_raster(tmp_path / "in.tif", bands := colours(90, 110), **profile)
    segment(RasterJob(source, tmp_path / "out", ("labels", "confidence")))
    with rasterio.open(source) as raster:
        for output in ("labels", "confidence"):
            with rasterio.open(tmp_path / f"out.{output}.tif") as mask:
                assert (mask.shape, mask.crs) == (raster.shape, raster.crs)
                assert mask.transform.almost_equals(raster.transform, 1e-9)
                assert mask.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert np.array_equal(read(tmp_path / "out.labels.tif"), bands.argmax(axis=0))


def test_a_raster_without_georeference_is_segmented_without_a_warning(tmp_path: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio", reason="the extra 'rasters' is not installed")
    with without_georeference_warnings():
        source = write_raster(tmp_path / "in.tif", colours(80, 100), crs=None, transform=Affine.identity())
    segment(RasterJob(source, tmp_path / "out", ("labels", "confidence", "gpkg")))  # Warnings are errors here.
    assert pyogrio.read_info(tmp_path / "out.gpkg")["crs"] is None


def test_pixels_without_data_are_void(tmp_path: Path) -> None:
    bands = colours(80, 100)
    bands[:, :30, 20:] = 0
    segment(RasterJob(write_raster(tmp_path / "nodata.tif", bands, nodata=0), tmp_path / "nodata", ("labels", "confidence")))
    void = read(tmp_path / "nodata.labels.tif") == VOID
    assert np.array_equal(void, (bands == 0).all(axis=0))
    assert np.array_equal(read(tmp_path / "nodata.confidence.tif") == 0, void)
    options = RasterOptions(nodata=float(bands[0, 70, 50]), reading=ReadingOptions(bands=(1,)))
    segment(RasterJob(write_raster(tmp_path / "option.tif", bands), tmp_path / "option", options=options))
    assert np.array_equal(read(tmp_path / "option.labels.tif") == VOID, bands[0] == bands[0, 70, 50])


def test_transparent_pixels_are_void(tmp_path: Path) -> None:
    alpha = np.full((1, 80, 100), 255, np.uint8)
    alpha[:, 50:] = 0
    bands = np.concatenate([colours(80, 100), alpha])
    segment(RasterJob(write_raster(tmp_path / "in.tif", bands, photometric="RGB", alpha="YES"), tmp_path / "out"))
    labels = read(tmp_path / "out.labels.tif")
    assert (labels[50:] == VOID).all()
    assert np.array_equal(labels[:50], bands[:3, :50].argmax(axis=0))


def test_16_bit_single_and_selected_bands(tmp_path: Path) -> None:
    bands = colours(80, 100)
    uint16_raster = write_raster(tmp_path / "deep.tif", bands.astype(np.uint16) * 40)
    options = RasterOptions(ReadingOptions(bands=(3, 2, 1), range=(0, 255 * 40)))
    segment(RasterJob(uint16_raster, tmp_path / "deep", options=options))
    assert np.array_equal(read(tmp_path / "deep.labels.tif"), bands[::-1].argmax(axis=0))
    segment(RasterJob(write_raster(tmp_path / "one.tif", bands[:1]), tmp_path / "one"))
    assert not read(tmp_path / "one.labels.tif").any()
    with pytest.raises(RasterError, match=r"no band 4; the raster has 3"):
        segment(RasterJob(uint16_raster, tmp_path / "x", options=RasterOptions(ReadingOptions(bands=(4,)))))


def test_cogs_and_vrts_are_read(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "in.tif", bands := colours(80, 100))
    for driver, name in (("COG", "cog.tif"), ("VRT", "mosaic.vrt")):
        copy(source, tmp_path / name, driver=driver)
        segment(RasterJob(str(tmp_path / name), tmp_path / driver))
        assert np.array_equal(read(tmp_path / f"{driver}.labels.tif"), bands.argmax(axis=0))


def test_classes_have_names_and_colours(tmp_path: Path) -> None:
    segment(RasterJob(write_raster(tmp_path / "in.tif", colours(80, 100)), tmp_path / "out"))
    sidecar = ElementTree.parse(tmp_path / "out.labels.tif.aux.xml")  # noqa: S314 (of our own making)
    assert [name.text for name in sidecar.iter("Category")] == ["background", "cat", "dog"]
    assert sum(int(row[2].text or "") for row in sidecar.iter("Row")) == 8000
    with rasterio.open(tmp_path / "out.labels.tif") as file:
        assert file.colormap(1)[1] == (128, 0, 0, 255)
        assert file.tags(1)["CLASS_2"] == "dog"


@pytest.mark.slow
def test_an_interrupted_run_is_resumed_with_the_same_bytes(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "in.tif", colours(350, 370))
    formats, window_options = ("labels", "confidence"), WindowOptions(64, 16)
    with SMALL_BLOCKS:
        undisturbed = segment(RasterJob(source, tmp_path / "undisturbed", formats, window_options=window_options))
        job = RasterJob(source, tmp_path / "out", formats, window_options=window_options)
        with pytest.raises(KeyboardInterrupt):
            segment(job, InProcessExecutor(max_blocks=2))
        resumed = segment(job)
        repeated = segment(job, InProcessExecutor(max_blocks=0))
    assert (resumed.reused, resumed.computed) == (2, undisturbed.computed - 2)
    assert repeated.done_before
    for output in formats:
        assert (tmp_path / f"out.{output}.tif").read_bytes() == (tmp_path / f"undisturbed.{output}.tif").read_bytes()
    assert not (tmp_path / "out.parts").exists()


def test_outputs_next_to_the_rasters_are_not_inputs(tmp_path: Path) -> None:
    job = RasterJob(
        write_raster(tmp_path / "town.tif", colours(350, 370)), tmp_path / "town", window_options=WindowOptions(64, 16)
    )
    (tmp_path / "mine.labels.tif").touch()  # Looks like an output, but no run left the others.
    (tmp_path / ".hidden.tif").touch()
    with SMALL_BLOCKS, pytest.raises(KeyboardInterrupt):
        segment(job, InProcessExecutor(max_blocks=1))
    (tmp_path / "town.labels.tif.draft.tif").touch()  # As a killed run leaves it.
    (tmp_path / "town.confidence.tif").touch()
    rasters = [("mine.labels.tif", "mine.labels"), ("town.tif", "town")]
    assert [(Path(file).name, str(name)) for file, name in find_rasters(str(tmp_path))] == rasters

    with SMALL_BLOCKS:
        segment(job)
    assert [(Path(file).name, str(name)) for file, name in find_rasters(str(tmp_path))] == rasters


@pytest.mark.slow
def test_polygons_tile_the_raster_across_blocks(tmp_path: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio", reason="the extra 'rasters' is not installed")
    import shapely

    source = write_raster(tmp_path / "in.tif", bands := colours(350, 370, patch=30))
    job = RasterJob(source, tmp_path / "out", ("labels", "gpkg", "geojson", "geoparquet"), window_options=WindowOptions(64, 16))
    with SMALL_BLOCKS:
        segment(job)
    meta, _, geometry, fields = pyogrio.raw.read(tmp_path / "out.gpkg")
    polygons = shapely.from_wkb(geometry)
    columns = dict(zip(meta["fields"], fields, strict=True))
    assert meta["crs"] == "EPSG:32633"
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    assert np.array_equal(shapely.area(polygons) * 4, columns["pixels"])
    for index in (1, 2):
        assert columns["pixels"][columns["index"] == index].sum() == (bands.argmax(axis=0) == index).sum()
    answer = json.loads((tmp_path / "out.geojson").read_text())
    assert len(answer["features"]) == len(polygons)
    longitude, latitude = answer["features"][0]["geometry"]["coordinates"][0][0]
    assert (round(longitude, 1), round(latitude, 1)) == (15.0, 45.2)
    table = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "out.parquet")
    assert json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 32633}
    assert shapely.equals(shapely.from_wkb(table["geometry"].to_pylist()), polygons).all()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_geojson_requires_a_coordinate_system_and_no_pole(tmp_path: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio", reason="the extra 'rasters' is not installed")
    import shapely

    bands = colours(80, 100, patch=30)
    pixels = write_raster(tmp_path / "pixels.tif", bands, crs=None, transform=Affine.identity())
    with pytest.raises(RasterError, match="no coordinate system"):
        segment(RasterJob(pixels, tmp_path / "pixels", ("geojson",)))
    pole = write_raster(tmp_path / "pole.tif", bands, crs="EPSG:3413", transform=from_origin(-500, 400, 10, 10))
    with pytest.raises(RasterError, match="contains a pole"):
        segment(RasterJob(pole, tmp_path / "pole", ("geojson",)))
    fiji = write_raster(tmp_path / "fiji.tif", bands, crs="EPSG:3832", transform=from_origin(3_338_000, -1_900_000, 50, 50))
    segment(RasterJob(fiji, tmp_path / "fiji", ("geojson",)))
    _, _, geometry, _ = pyogrio.raw.read(tmp_path / "fiji.geojson")
    bounds = shapely.bounds(shapely.get_parts(shapely.from_wkb(geometry)))
    assert (bounds[:, 2] - bounds[:, 0] < 1).all()
    assert bounds[:, 0].min() < -179
    assert bounds[:, 2].max() > 179


def test_a_resolution_out_of_range_is_refused(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "in.tif", colours(80, 100))
    with pytest.raises(RasterError, match=r"resolution 50: the raster's pixels measure 0.5; must be from 0.0625 to 4"):
        segment(RasterJob(source, tmp_path / "out", options=RasterOptions(resolution=50)))

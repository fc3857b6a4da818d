"""Write polygons as GeoPackage, GeoJSON and GeoParquet, some thousands at a time."""

import io
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.labels import Labels
from scripts.errors import UserError
from scripts.rasters.errors import RasterError
from scripts.rasters.joining import Feature

LAYER = "polygons"
_CHUNK_FEATURES = 5_000
#: GeoPackage records when a layer was last changed; with a fixed date, the same polygons give the same bytes.
_DATE = "2000-01-01T00:00:00.000Z"
#: Decimal digits of degrees: 1 mm.
_DIGITS = 8
#: Vertices are at most this many pixels apart, so that straight lines stay in place in other coordinates.
_MAX_EDGE_PIXELS = 256


@dataclass(frozen=True)
class Georeference:
    """A raster's location: its affine transform and coordinate system."""

    #: a, b, c, d, e, f of x = a·column + b·row + c and y = d·column + e·row + f.
    transform: tuple[float, float, float, float, float, float]
    #: rasterio's CRS, or None if the raster has none.
    crs: Any

    def to_ground(self, polygons: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
        """Transform polygons from pixels to the raster's coordinates, with counterclockwise outer rings."""
        import shapely

        a, b, c, d, e, f = self.transform
        ground_polygons = shapely.transform(polygons, lambda xy: np.stack([xy @ (a, b) + c, xy @ (d, e) + f], 1))
        oriented: npt.NDArray[np.object_] = shapely.orient_polygons(ground_polygons)
        return oriented


def write_geopackage(path: Path, features: Iterable[Feature], labels: Labels, georeference: Georeference) -> None:
    """Write a GeoPackage with one layer, in the raster's coordinate system.

    Raises:
        UserError: pyogrio is not installed.
    """
    pyogrio = _import_pyogrio()
    part = path.with_name(f"{path.name}.part.gpkg")
    part.unlink(missing_ok=True)
    append = False
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _DATE})
    for chunk in _chunks(features, at_least_one=True):
        _write(pyogrio, part, chunk, labels, georeference, driver="GPKG", append=append)
        append = True
    part.replace(path)


def write_geojson(path: Path, features: Iterable[Feature], labels: Labels, georeference: Georeference) -> None:
    """Write a FeatureCollection in longitude and latitude, cut at the antimeridian as RFC 7946 requires.

    Raises:
        RasterError: the raster has no coordinate system, or contains a pole.
        UserError: pyogrio is not installed.
    """
    pyogrio = _import_pyogrio()
    import shapely

    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(b'{"type":"FeatureCollection","features":[')
        separator = b"\n"
        for chunk in _chunks(features):
            lines = io.BytesIO()
            chunk = [replace(feature, polygon=shapely.segmentize(feature.polygon, _MAX_EDGE_PIXELS)) for feature in chunk]
            _write(pyogrio, lines, chunk, labels, georeference, driver="GeoJSONSeq", COORDINATE_PRECISION=_DIGITS)
            for line in lines.getvalue().splitlines():
                file.write(separator + line)
                separator = b",\n"
        file.write(b"\n]}\n")
    part.replace(path)


def write_geoparquet(path: Path, features: Iterable[Feature], labels: Labels, georeference: Georeference) -> None:
    """Write GeoParquet 1.1 with well-known binary, in the raster's coordinate system.

    Raises:
        UserError: pyarrow is not installed.
    """
    pyarrow, parquet = _import_pyarrow()
    import shapely

    fields = {"index": "int32", "label": "string", "color": "string", "pixels": "int64", "score": "float64"}
    schema = pyarrow.schema([("geometry", "binary"), *fields.items()])
    part, bounds = path.with_name(f"{path.name}.part"), []
    # Readers look for `geo` in a stored Arrow schema, but it is only complete at the end.
    with parquet.ParquetWriter(part, schema, compression="zstd", store_schema=False) as writer:
        for chunk in _chunks(features):
            polygons, columns = _table(chunk, labels, georeference)
            bounds.append(shapely.total_bounds(polygons))
            writer.write_table(pyarrow.table({"geometry": list(shapely.to_wkb(polygons)), **columns}, schema))
        writer.add_key_value_metadata({"geo": json.dumps(_geo_metadata(georeference, bounds))})
    part.replace(path)


def _geo_metadata(georeference: Georeference, bounds: list[npt.NDArray[np.float64]]) -> dict[str, Any]:
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": georeference.crs.to_dict(projjson=True) if georeference.crs else None,
        "orientation": "counterclockwise",
    }
    if bounds:
        corners = np.array(bounds)
        column["bbox"] = [*corners[:, :2].min(axis=0).tolist(), *corners[:, 2:].max(axis=0).tolist()]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _table(
    chunk: list[Feature], labels: Labels, georeference: Georeference
) -> tuple[npt.NDArray[np.object_], dict[str, npt.NDArray[Any]]]:
    """Return some features' polygons in ground coordinates, and their fields by name."""
    polygons = np.empty(len(chunk), np.object_)
    polygons[:] = [feature.polygon for feature in chunk]
    classes = [feature.class_index for feature in chunk]
    columns = {
        "index": np.array(classes, np.int32),
        "label": np.array([labels.names[index] for index in classes], np.object_),
        "color": np.array([labels.hex_colour(index) for index in classes], np.object_),
        "pixels": np.array([feature.pixels for feature in chunk], np.int64),
        "score": np.array([round(feature.score, 4) for feature in chunk], np.float64),
    }
    return georeference.to_ground(polygons), columns


def _write(
    pyogrio: Any,
    target: Path | io.BytesIO,
    chunk: list[Feature],
    labels: Labels,
    georeference: Georeference,
    *,
    driver: str,
    append: bool = False,
    **options: Any,
) -> None:
    import shapely

    polygons, columns = _table(chunk, labels, georeference)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # The raster has none.
        pyogrio.raw.write(
            target,
            shapely.to_wkb(polygons),
            list(columns.values()),
            list(columns),
            layer=LAYER,
            driver=driver,
            geometry_type="Polygon",
            crs=georeference.crs.to_wkt() if georeference.crs else None,
            append=append,
            layer_options=options or None,
        )


def _chunks(features: Iterable[Feature], *, at_least_one: bool = False) -> Iterator[list[Feature]]:
    iterator = iter(features)
    while chunk := list(islice(iterator, _CHUNK_FEATURES)):
        yield chunk
        at_least_one = False
    if at_least_one:
        yield []


def _import_pyogrio() -> Any:
    try:
        import pyogrio
        import pyogrio.raw
    except ModuleNotFoundError as error:
        raise UserError("the package pyogrio is not installed; install the extra: pip install '.[rasters]'") from error
    return pyogrio


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise UserError("the package pyarrow is not installed; install the extra: pip install '.[rasters]'") from error
    return pyarrow, pyarrow.parquet


#: Functions that write polygons, by format.
WRITERS: dict[str, Callable[[Path, Iterable[Feature], Labels, Georeference], None]] = {
    "gpkg": write_geopackage,
    "geojson": write_geojson,
    "geoparquet": write_geoparquet,
}


def check_geojson(source: str, georeference: Georeference, size: tuple[int, int]) -> None:
    """Check that polygons of a raster of `size` (height, width) can be given in longitude and latitude.

    Raises:
        RasterError: the raster has no coordinate system, or contains a pole.
    """
    if not georeference.crs:
        raise RasterError(f"{source}: has no coordinate system, so GeoJSON's longitudes are unknown; use gpkg or geoparquet")
    if georeference.crs.is_geographic:
        return
    for latitude in (90.0, -90.0):
        if _contains_pole(georeference, size, latitude):
            raise RasterError(f"{source}: contains a pole, where GeoJSON's longitudes end; use gpkg or geoparquet")


def _contains_pole(georeference: Georeference, size: tuple[int, int], latitude: float) -> bool:
    from affine import Affine
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    try:
        (x,), (y,) = transform("EPSG:4326", georeference.crs, [0.0], [latitude])
    except RasterioError:
        return False
    if not (np.isfinite(x) and np.isfinite(y)):
        return False
    column, row = ~Affine(*georeference.transform) @ (x, y)
    return bool(0 <= column <= size[1] and 0 <= row <= size[0])

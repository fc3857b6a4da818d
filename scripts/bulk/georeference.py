"""Tell the map from the photograph, for the advice that too large a file gets."""

from contextlib import ExitStack
from typing import Any

from scripts.rasters.gdal import allowing_no_place, gdal_options, gdal_path

#: GDAL's drivers of the formats that the server decodes too: others, such as VRT, would open what a file names.
_DRIVERS = ["GTiff", "JP2OpenJPEG", "JPEG", "PNG"]
#: For each request to the host of a URL.
_TIMEOUT_S = 30


def is_georeferenced(file: str | bytes) -> bool:
    """Return whether an image, by its path, its URL or its bytes, has a place on the ground; False too if GDAL reads none."""
    # Not at the top: few runs meet such a file.
    from rasterio import Env
    from rasterio.errors import RasterioError
    from rasterio.io import DatasetReader, MemoryFile

    with ExitStack() as stack:
        stack.enter_context(allowing_no_place())
        stack.enter_context(Env(**gdal_options(), GDAL_HTTP_TIMEOUT=_TIMEOUT_S))
        try:
            name = gdal_path(file) if isinstance(file, str) else stack.enter_context(MemoryFile(file)).name
            return _has_place(stack.enter_context(DatasetReader(name, driver=_DRIVERS)))
        except (RasterioError, ValueError):
            return False


def _has_place(raster: Any) -> bool:
    # A picture has the identity, in which a pixel is a unit; control points are what some scenes have instead.
    transform, gcps, rpcs = raster.transform, raster.gcps[0], raster.rpcs
    return bool(raster.crs or not transform.is_identity or gcps or rpcs)

"""Recognise georeferenced rasters, for the advice in the error for files that are too large."""

from contextlib import ExitStack
from typing import Any

from scripts.rasters.gdal import gdal_options, gdal_path, without_georeference_warnings

#: GDAL drivers for formats that the server decodes too; others, such as VRT, would open other files that the file names.
_DRIVERS = ["GTiff", "JP2OpenJPEG", "JPEG", "PNG"]
#: Timeout of each request to a URL's host, in seconds.
_TIMEOUT_S = 30


def is_georeferenced(file: str | bytes) -> bool:
    """Return whether an image, given as path, URL or bytes, is georeferenced; False if GDAL cannot read it."""
    # Not at the top: few runs encounter such a file.
    from rasterio import Env
    from rasterio.errors import RasterioError
    from rasterio.io import DatasetReader, MemoryFile

    with ExitStack() as stack:
        stack.enter_context(without_georeference_warnings())
        stack.enter_context(Env(**gdal_options(), GDAL_HTTP_TIMEOUT=_TIMEOUT_S))
        try:
            name = gdal_path(file) if isinstance(file, str) else stack.enter_context(MemoryFile(file)).name
            return _has_georeference(stack.enter_context(DatasetReader(name, driver=_DRIVERS)))
        except (RasterioError, ValueError):
            return False


def _has_georeference(raster: Any) -> bool:
    # An ordinary image has the identity transform; some scenes have control points instead of a transform.
    transform, gcps, rpcs = raster.transform, raster.gcps[0], raster.rpcs
    return bool(raster.crs or not transform.is_identity or gcps or rpcs)

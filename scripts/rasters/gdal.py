"""How GDAL accesses files, and how much memory it may use."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

#: Bytes of decoded tiles that GDAL caches in each process; its default is a twentieth of the machine's memory.
CACHE_BYTES = 64 << 20
#: GDAL's file system prefixes, by URL prefix.
_FILE_SYSTEMS = {
    "s3://": "/vsis3/",
    "gs://": "/vsigs/",
    "az://": "/vsiaz/",
    "http://": "/vsicurl/http://",
    "https://": "/vsicurl/https://",
    "file://": "",
}


def gdal_path(source: str) -> str:
    """Return the name by which GDAL opens `source`: a path, or a URL of `s3`, `gs`, `az`, `http`, `https` or `file`."""
    for prefix, replacement in _FILE_SYSTEMS.items():
        if source.startswith(prefix):
            return replacement + source.removeprefix(prefix)
    return source


def gdal_options() -> dict[str, str | int]:
    """Return GDAL's configuration for reading rasters: a bounded cache, retries, and the S3 endpoint that other tools use."""
    options: dict[str, str | int] = {
        "GDAL_CACHEMAX": CACHE_BYTES,
        "GDAL_HTTP_MAX_RETRY": 4,
        "GDAL_HTTP_RETRY_DELAY": 1,
        "VSI_CACHE": "TRUE",
        "VSI_CACHE_SIZE": 16 << 20,
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "AWS_S3_ENDPOINT" not in os.environ:
        parts = urlsplit(endpoint)
        options |= {
            "AWS_S3_ENDPOINT": parts.netloc,
            "AWS_HTTPS": "NO" if parts.scheme == "http" else "YES",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
    return options


@contextmanager
def without_georeference_warnings() -> Iterator[None]:
    """Suppress rasterio's warning about rasters without a georeference in the block."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield

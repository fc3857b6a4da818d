"""Write labels and confidence as Cloud Optimized GeoTIFFs on the raster's own grid, with class names and colours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from handler.labels import Labels
from scripts.rasters.blocks import label_type, void_index
from scripts.rasters.gdal import gdal_options, without_georeference_warnings

VOID = "no data"
#: No winning class has a probability that rounds to this.
_NO_CONFIDENCE = 0
_TILE = 512
#: GDAL's numbers for columns of a raster attribute table: types and usages (GDALRATFieldType, GDALRATFieldUsage).
_INTEGER, _REAL, _STRING = 0, 1, 2
_GENERIC, _PIXEL_COUNT, _NAME, _MIN_MAX, _RED, _GREEN, _BLUE, _ALPHA = 0, 1, 2, 5, 6, 7, 8, 9


class Mosaic:
    """A single-band raster that is written in parts and then converted to a COG."""

    def __init__(
        self, path: Path, profile: dict[str, Any], tags: dict[str, str], colours: dict[int, tuple[int, ...]] | None = None
    ) -> None:
        """Create the draft for the parts; `profile` is rasterio's and has type, size, georeference and nodata."""
        import rasterio

        self._path = path
        self._draft = path.with_name(f"{path.name}.draft.tif")
        with rasterio.Env(**gdal_options()), without_georeference_warnings():
            self._file = rasterio.open(
                self._draft,
                "w",
                driver="GTiff",
                count=1,
                tiled=True,
                blockxsize=_TILE,
                blockysize=_TILE,
                compress="DEFLATE",
                zlevel=1,
                BIGTIFF="IF_SAFER",
                SPARSE_OK=True,
                **profile,
            )
            if colours:
                self._file.write_colormap(1, colours)
            self._file.update_tags(**tags)

    def write(self, values: npt.NDArray[np.unsignedinteger], area: tuple[slice, slice]) -> None:
        """Write the values of some rows and columns."""
        from rasterio.windows import Window

        self._file.write(values, 1, window=Window.from_slices(*area))

    def finish(self, overviews: str, band_tags: dict[str, str], scale: float | None = None) -> None:
        """Convert the draft to a COG; `overviews` is GDAL's resampling method for overviews."""
        import rasterio
        from rasterio.shutil import copy

        self._file.update_tags(1, **band_tags)
        if scale is not None:
            self._file.scales = (scale,)
        self._file.close()
        part = self._path.with_name(f"{self._path.name}.part")
        options = {"compress": "DEFLATE", "predictor": "NO", "blocksize": _TILE, "bigtiff": "IF_SAFER"}
        with rasterio.Env(**gdal_options()), without_georeference_warnings():
            copy(self._draft, part, driver="COG", overview_resampling=overviews, **options)
        part.with_name(f"{part.name}.aux.xml").unlink(missing_ok=True)
        part.replace(self._path)
        self.discard()

    def discard(self) -> None:
        """Remove the draft."""
        if not self._file.closed:
            self._file.close()
        self._draft.unlink(missing_ok=True)


def label_mosaic(path: Path, profile: dict[str, Any], labels: Labels, tags: dict[str, str]) -> Mosaic:
    """Create a label raster: class indices with a colour table, and `void_index` for no data."""
    classes = len(labels.names)
    colours: dict[int, tuple[int, ...]] = {index: (*colour, 255) for index, colour in enumerate(labels.palette)}
    label_profile = {**profile, "dtype": label_type(classes).name, "nodata": void_index(classes)}
    return Mosaic(path, label_profile, tags, colours)


def confidence_mosaic(path: Path, profile: dict[str, Any], tags: dict[str, str]) -> Mosaic:
    """Create a raster of probabilities times 255, with 0 for no data."""
    return Mosaic(path, {**profile, "dtype": "uint8", "nodata": _NO_CONFIDENCE}, tags)


def write_class_names(path: Path, labels: Labels, pixels: npt.NDArray[np.int64]) -> None:
    """Write GDAL's sidecar for the label raster at `path`: category names, and an attribute table for names in QGIS.

    Args:
        path: the label raster.
        labels: the classes.
        pixels: number of pixels of each class.
    """
    dataset = ElementTree.Element("PAMDataset")
    band = ElementTree.SubElement(dataset, "PAMRasterBand", band="1")
    names = ElementTree.SubElement(band, "CategoryNames")
    for name in labels.names:
        ElementTree.SubElement(names, "Category").text = xml_text(name)
    table = ElementTree.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    columns = (
        ("Value", _INTEGER, _MIN_MAX),
        ("Class", _STRING, _NAME),
        ("Count", _REAL, _PIXEL_COUNT),
        ("Red", _INTEGER, _RED),
        ("Green", _INTEGER, _GREEN),
        ("Blue", _INTEGER, _BLUE),
        ("Alpha", _INTEGER, _ALPHA),
    )
    for number, (name, kind, usage) in enumerate(columns):
        column = ElementTree.SubElement(table, "FieldDefn", index=str(number))
        for tag, value in (("Name", name), ("Type", str(kind)), ("Usage", str(usage))):
            ElementTree.SubElement(column, tag).text = value
    for index, (name, colour) in enumerate(zip(labels.names, labels.palette, strict=True)):
        row = ElementTree.SubElement(table, "Row", index=str(index))
        for cell in (index, xml_text(name), int(pixels[index]), *colour, 255):
            ElementTree.SubElement(row, "F").text = str(cell)
    ElementTree.indent(dataset)
    sidecar = path.with_name(f"{path.name}.aux.xml")
    sidecar.write_bytes(ElementTree.tostring(dataset, encoding="utf-8") + b"\n")


def xml_text(name: str) -> str:
    """Replace characters that XML 1.0 does not allow, such as control characters, with U+FFFD."""
    return "".join(letter if letter in "\t\n\r" or _is_xml_character(ord(letter)) else "\ufffd" for letter in name)


def _is_xml_character(code: int) -> bool:
    return 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


@contextmanager
def discarding(mosaics: list[Mosaic]) -> Iterator[None]:
    """Remove the drafts if the block raises an error."""
    try:
        yield
    except BaseException:
        for mosaic in mosaics:
            mosaic.discard()
        raise

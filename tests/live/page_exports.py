"""Readers of the edited polygons that the page saves: each returns the mask of each class."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from rasterio import features
from shapely.geometry import shape

Mask = npt.NDArray[np.bool_]

SIZE = (512, 512)
_SVG = "{http://www.w3.org/2000/svg}"


def geojson_masks(text: str) -> dict[str, Mask]:
    """Draw valid polygons with shapely and rasterio."""
    shapes = [(item["properties"]["label"], shape(item["geometry"])) for item in json.loads(text)["features"]]
    assert all(area.is_valid for _, area in shapes)
    return {label: features.rasterize([area], out_shape=SIZE).astype(bool) for label, area in shapes}


def _coco(path: Path) -> dict[str, Mask]:
    from pycocotools.coco import COCO

    coco = COCO(path)
    assert coco.loadImgs(1)[0]["file_name"] == "astronaut.jpg"
    return {
        coco.cats[item["category_id"]]["name"]: coco.annToMask(item).astype(bool) for item in coco.loadAnns(coco.getAnnIds())
    }


def _labelme(path: Path) -> dict[str, Mask]:
    # Labelme imports Qt, which needs desktop libraries.
    labelme = pytest.importorskip("labelme", exc_type=ImportError)
    photograph, file = path.with_suffix(".png"), path.with_suffix(".json")
    # Labelme leaves a JPEG open.
    file.write_text(json.dumps({**json.loads(path.read_text()), "imagePath": photograph.name}))
    Image.new("L", SIZE).save(photograph)
    shapes = labelme.LabelFile(str(file)).shapes
    return _union((item["label"], labelme.utils.shape_to_mask(SIZE, item["points"])) for item in shapes)


def _label_studio(path: Path) -> dict[str, Mask]:
    interface = pytest.importorskip("label_studio_sdk.label_interface").LabelInterface
    prediction = json.loads(path.read_text())
    labels = {region["value"]["polygonlabels"][0] for region in prediction["result"]}
    choices = "".join(f'<Label value="{label}"/>' for label in labels)
    tags = f'<Image name="image" value="$image"/><PolygonLabels name="label" toName="image">{choices}</PolygonLabels>'
    assert interface(f"<View>{tags}</View>").validate_prediction(prediction, return_errors=True) == []
    rings = [
        (region["value"]["polygonlabels"][0], np.array(region["value"]["points"]) * 5.12) for region in prediction["result"]
    ]
    return _union((label, _fill([ring])) for label, ring in rings)


def _mask(path: Path) -> dict[str, Mask]:
    with Image.open(path) as png:
        assert png.mode == "P"
        names, values = json.loads(png.text["classes"]), np.array(png)  # type: ignore[attr-defined]
    return {names[value]: values == value for value in np.unique(values) if names[value] != "background"}


def _svg(path: Path) -> dict[str, Mask]:
    masks = {}
    for element in ElementTree.parse(path).getroot().iter(f"{_SVG}path"):  # noqa: S314, our own page wrote it.
        title = element.find(f"{_SVG}title")
        assert title is not None
        rings = [np.array(re.findall(r"[\d.]+", ring), float).reshape(-1, 2) for ring in element.attrib["d"].split("Z") if ring]
        masks[str(title.text)] = _fill(rings)
    return masks


def _fill(rings: Iterable[npt.NDArray[np.float64]]) -> Mask:
    """Fill rings by the even-odd rule."""
    filled = np.zeros(SIZE, bool)
    for ring in rings:
        outline = {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}
        filled ^= features.rasterize([outline], out_shape=SIZE).astype(bool)
    return filled


def _union(parts: Iterable[tuple[str, Mask]]) -> dict[str, Mask]:
    masks: dict[str, Mask] = defaultdict(lambda: np.zeros(SIZE, bool))
    for label, mask in parts:
        masks[label] = masks[label] | mask
    return dict(masks)


#: By the format's name on the page.
EDITED_READERS: dict[str, Callable[[Path], dict[str, Mask]]] = {
    "geojson": lambda path: geojson_masks(path.read_text()),
    "coco": _coco,
    "labelme": _labelme,
    "labelstudio_polygons": _label_studio,
    "png": _mask,
    "svg": _svg,
}

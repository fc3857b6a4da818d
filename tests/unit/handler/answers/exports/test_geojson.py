import pytest
from hypothesis import given
from rasterio import features
from rasterio.transform import Affine
from shapely.geometry import shape

from handler.answers import FORMATS
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions
from tests.unit.handler.answers.exports.support import MODEL, OPTIONS, RING, answer, assert_masks, segmentation, segmentations


def test_a_segment_is_a_feature_with_properties_and_polygons() -> None:
    collection = answer("geojson", segmentation([[0, 0, 0, 1], [2, 2, 0, 1]]))

    assert collection["image"] == {"width": 4, "height": 2}
    assert collection["features"][0] == {
        "type": "Feature",
        "properties": {
            "index": 1, "label": "class 1", "color": "#800000", "pixels": 2, "fraction": 0.25, "bbox": [3, 0, 1, 2],
            "score": 0.5,
        },
        "geometry": {"type": "MultiPolygon", "coordinates": [[[[3, 0], [4, 0], [4, 2], [3, 2], [3, 0]]]]},
    }  # fmt: skip
    assert [feature["properties"]["label"] for feature in collection["features"]] == ["class 1", "class 2"]


def test_geojson_has_its_own_content_type() -> None:
    assert FORMATS["geojson"].encode(segmentation(RING), MODEL, AnswerOptions()).content_type == "application/geo+json"


@pytest.mark.slow
@given(segmentations(), OPTIONS)
def test_shapely_reads_the_masks_back(result: Segmentation, options: AnswerOptions) -> None:
    masks = []
    for feature in answer("geojson", result, options)["features"]:
        area = shape(feature["geometry"])
        assert area.is_valid
        assert area.area == feature["properties"]["pixels"]
        mask = features.rasterize([area], out_shape=result.label_map.shape).astype(bool)
        masks.append((feature["properties"]["label"], mask))

    assert_masks(masks, result, options)


@pytest.mark.slow
@given(segmentations(), OPTIONS)
def test_with_y_up_a_gis_draws_the_layer_over_the_image(result: Segmentation, options: AnswerOptions) -> None:
    height, width = result.label_map.shape
    # A GIS draws a picture without georeference from 0 down to -height.
    without_georeference = Affine(1, 0, 0, 0, -1, 0)
    down = answer("geojson", result, options)
    up = answer("geojson", result, options.model_copy(update={"y_axis": "up"}))

    masks = []
    for feature in up["features"]:
        area = shape(feature["geometry"])
        assert area.is_valid
        assert all(polygon.exterior.is_ccw and not any(hole.is_ccw for hole in polygon.interiors) for polygon in area.geoms)
        left, bottom, right, top = area.bounds
        assert 0 <= left < right <= width
        assert -height <= bottom < top <= 0
        mask = features.rasterize([area], out_shape=(height, width), transform=without_georeference).astype(bool)
        masks.append((feature["properties"]["label"], mask))

    assert_masks(masks, result, options)
    assert [feature["properties"] for feature in up["features"]] == [feature["properties"] for feature in down["features"]]

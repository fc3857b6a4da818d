import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio import features

from handler.masks.components import label_components


def test_components_are_numbered_by_their_first_pixels_and_background_is_0() -> None:
    ids, class_of = label_components(np.array([[1, 0, 1, 1], [0, 0, 1, 0], [1, 2, 2, 0]], np.uint8), background=0)

    assert ids.tolist() == [[1, 0, 2, 2], [0, 0, 2, 0], [3, 4, 4, 0]]
    assert class_of.tolist() == [0, 1, 1, 1, 2]


def test_components_that_touch_only_at_a_corner_stay_apart() -> None:
    _, class_of = label_components(np.array([[1, 0], [0, 1]], np.uint8), background=0)

    assert class_of.tolist() == [0, 1, 1]


def test_without_a_background_class_every_class_has_components() -> None:
    ids, class_of = label_components(np.array([[0, 1, 0]], np.uint8), background=None)

    assert ids.tolist() == [[1, 2, 3]]
    assert class_of[1:].tolist() == [0, 1, 0]


@pytest.mark.parametrize("turns", range(4))
def test_a_spiral_is_one_component(turns: int) -> None:
    spiral = np.zeros((41, 41), np.uint8)
    for ring in range(0, 20, 2):
        spiral[ring : 41 - ring, ring : 41 - ring] = 1
        spiral[ring + 1 : 40 - ring, ring + 1 : 40 - ring] = 0
        spiral[ring + 1, ring] = 0  # Cut the ring,
        spiral[ring + 2, ring + 1] = 1  # and continue in the next one.

    _, class_of = label_components(np.rot90(spiral, turns), background=0)

    assert class_of.tolist() == [0, 1]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4), st.sampled_from([None, 0, 1]), st.integers(0, 2**32 - 1))
def test_components_match_gdal(height: int, width: int, count: int, background: int | None, seed: int) -> None:
    label_map = np.random.default_rng(seed).integers(0, count, (height, width), dtype=np.uint8)
    reference = np.zeros(label_map.shape, np.int32)
    shapes = [polygon for polygon, index in features.shapes(label_map, connectivity=4) if index != background]
    if shapes:
        features.rasterize([(polygon, component_id) for component_id, polygon in enumerate(shapes, 1)], out=reference)

    ids, class_of = label_components(label_map, background)

    np.testing.assert_array_equal(class_of[ids[ids > 0]], label_map[ids > 0])
    pairs = set(zip(ids.ravel().tolist(), reference.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(ids)) == len(np.unique(reference))

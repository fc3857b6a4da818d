import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio import features

from handler.masks.components import label_components


def test_parts_are_numbered_by_their_first_pixels_and_background_is_0() -> None:
    ids, index_of = label_components(np.array([[1, 0, 1, 1], [0, 0, 1, 0], [1, 2, 2, 0]], np.uint8), background=0)

    assert ids.tolist() == [[1, 0, 2, 2], [0, 0, 2, 0], [3, 4, 4, 0]]
    assert index_of.tolist() == [0, 1, 1, 1, 2]


def test_parts_that_touch_at_a_corner_alone_are_two() -> None:
    _, index_of = label_components(np.array([[1, 0], [0, 1]], np.uint8), background=0)

    assert index_of.tolist() == [0, 1, 1]


def test_without_a_background_class_every_class_has_parts() -> None:
    ids, index_of = label_components(np.array([[0, 1, 0]], np.uint8), background=None)

    assert ids.tolist() == [[1, 2, 3]]
    assert index_of[1:].tolist() == [0, 1, 0]


@pytest.mark.parametrize("turns", range(4))
def test_a_spiral_is_one_part(turns: int) -> None:
    spiral = np.zeros((41, 41), np.uint8)
    for ring in range(0, 20, 2):
        spiral[ring : 41 - ring, ring : 41 - ring] = 1
        spiral[ring + 1 : 40 - ring, ring + 1 : 40 - ring] = 0
        spiral[ring + 1, ring] = 0  # The ring is cut,
        spiral[ring + 2, ring + 1] = 1  # and goes on in the next.

    _, index_of = label_components(np.rot90(spiral, turns), background=0)

    assert index_of.tolist() == [0, 1]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4), st.sampled_from([None, 0, 1]), st.integers(0, 2**32 - 1))
def test_parts_are_those_that_gdal_finds(height: int, width: int, count: int, background: int | None, seed: int) -> None:
    label_map = np.random.default_rng(seed).integers(0, count, (height, width), dtype=np.uint8)
    reference = np.zeros(label_map.shape, np.int32)
    shapes = [shape for shape, index in features.shapes(label_map, connectivity=4) if index != background]
    if shapes:
        features.rasterize([(shape, number) for number, shape in enumerate(shapes, 1)], out=reference)

    ids, index_of = label_components(label_map, background)

    np.testing.assert_array_equal(index_of[ids[ids > 0]], label_map[ids > 0])
    both = set(zip(ids.ravel().tolist(), reference.ravel().tolist(), strict=True))
    assert len(both) == len(np.unique(ids)) == len(np.unique(reference))

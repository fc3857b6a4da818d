import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from scripts.evaluate.boundary_iou import boundary_counts, boundary_region


def eroded(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Erode by 3×3, from the definition: a pixel stays if all its eight neighbours are set."""
    height, width = mask.shape
    padded = np.pad(mask, 1)
    neighbours = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    intact: npt.NDArray[np.bool_] = np.all(neighbours, axis=0)
    return intact


@given(
    label_map=arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 2)),
    radius=st.integers(1, 4),
)
def test_the_region_of_each_class_is_its_mask_less_the_eroded_mask(label_map: npt.NDArray[np.uint8], radius: int) -> None:
    region = boundary_region(label_map, radius)

    for index in range(3):
        mask = label_map == index
        remaining = mask
        for _ in range(radius):
            remaining = eroded(remaining)
        np.testing.assert_array_equal(region & mask, mask & ~remaining)


def test_the_width_is_a_share_of_the_diagonal() -> None:
    # 300×400 pixels have a diagonal of 500: 2 % are 10, so the inner 280×380 belong to no boundary.
    label_map = np.zeros((300, 400), np.uint8)

    intersection, union = boundary_counts(label_map, label_map, 1)

    assert intersection.tolist() == union.tolist() == [300 * 400 - 280 * 380]

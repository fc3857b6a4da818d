import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from handler.labelmap import label_map
from handler.labels import Labels
from model.palette import voc_palette

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))


def reference(logits: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    values = F.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=False)[0]
    return values.numpy()


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 120), st.integers(1, 120)),
    st.integers(0, 2**32 - 1),
)
def test_labels_win_the_interpolated_logits(grid: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(4, *grid)).astype(np.float32)
    values = reference(logits, size)

    labels = label_map(logits, size, np.uint8)

    assert labels.shape == size
    assert labels.dtype == np.uint8
    # Where two classes are equal to the last bits, either may win.
    chosen = np.take_along_axis(values, labels[None].astype(np.int64), 0)[0]
    np.testing.assert_allclose(chosen, values.max(0), atol=1e-5)


def test_a_checkerboard_of_logits_at_image_size_comes_back() -> None:
    board = np.indices((6, 8)).sum(0) % 2
    logits = np.stack([1 - board, board]).astype(np.float32)

    np.testing.assert_array_equal(label_map(logits, (6, 8), np.uint8), board)


@pytest.mark.parametrize(("count", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_labels_take_the_smallest_integer_that_holds_them(count: int, dtype: npt.DTypeLike) -> None:
    assert Labels(tuple(map(str, range(count))), voc_palette(count)).dtype == np.dtype(dtype)


@pytest.mark.parametrize(("names", "index"), [(("background", "cat"), 0), (("cat", "Background"), 1), (("road", "sky"), None)])
def test_background_is_found_by_its_name(names: tuple[str, ...], index: int | None) -> None:
    assert Labels(names, voc_palette(len(names))).background == index

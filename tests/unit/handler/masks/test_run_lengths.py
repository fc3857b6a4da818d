from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from handler.masks import run_lengths
from handler.masks.run_lengths import encode_run_lengths, find_column_runs
from handler.strips import row_strips


def test_runs_go_down_columns_and_end_with_the_column() -> None:
    runs = find_column_runs(np.array([[4, 4, 5], [4, 4, 5], [2, 4, 4]], np.uint8))

    assert runs.size == (3, 3)
    assert runs.starts.tolist() == [0, 2, 3, 6, 8]
    assert runs.lengths.tolist() == [2, 1, 3, 2, 1]
    assert runs.ids.tolist() == [4, 2, 4, 5, 4]
    assert runs.count_pixels(6).tolist() == [0, 0, 1, 0, 6, 2]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4), st.integers(0, 2**32 - 1), st.integers(1, 99))
def test_run_lengths_equal_pycocotools(height: int, width: int, count: int, seed: int, strip_pixels: int) -> None:
    ids = np.random.default_rng(seed).integers(0, count, (height, width), dtype=np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_lengths, "row_strips", partial(row_strips, pixels=strip_pixels))
        encodings = encode_run_lengths(find_column_runs(ids), count)

    assert set(encodings) == set(np.unique(ids).tolist())
    for segment_id, encoding in encodings.items():
        assert encoding == coco.encode(np.asfortranarray(ids == segment_id, np.uint8))

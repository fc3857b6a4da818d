import io

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from handler.encoders.flat_png import flat_png

SHAPES = st.one_of(
    st.tuples(st.integers(1, 20), st.integers(1, 20)), st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))
)


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_a_mask_is_a_picture_of_one_bit(mask: npt.NDArray[np.bool_]) -> None:
    picture = Image.open(io.BytesIO(flat_png(mask)))

    assert picture.mode == "1"
    np.testing.assert_array_equal(np.asarray(picture), mask)


@given(hnp.arrays(np.uint8, SHAPES))
def test_pillow_reads_the_pixels_back(pixels: npt.NDArray[np.uint8]) -> None:
    picture = Image.open(io.BytesIO(flat_png(pixels)))

    assert picture.mode == ("L" if pixels.ndim == 2 else "RGB")
    np.testing.assert_array_equal(np.asarray(picture), pixels)

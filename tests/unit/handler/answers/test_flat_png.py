import io
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from handler.answers import flat_png
from handler.answers.flat_png import encode_png
from handler.strips import row_strips
from model.palette import voc_palette

SHAPES = st.one_of(
    st.tuples(st.integers(1, 20), st.integers(1, 20)), st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))
)


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_a_mask_takes_one_bit_per_pixel(mask: npt.NDArray[np.bool_]) -> None:
    picture = Image.open(io.BytesIO(encode_png(mask)))

    assert picture.mode == "1"
    np.testing.assert_array_equal(np.asarray(picture), mask)


@given(hnp.arrays(np.uint8, SHAPES))
def test_pillow_reads_the_pixels_back(pixels: npt.NDArray[np.uint8]) -> None:
    picture = Image.open(io.BytesIO(encode_png(pixels)))

    assert picture.mode == ("L" if pixels.ndim == 2 else "RGB")
    np.testing.assert_array_equal(np.asarray(picture), pixels)


@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_grey_may_have_16_bits(pixels: npt.NDArray[np.uint16]) -> None:
    picture = Image.open(io.BytesIO(encode_png(pixels)))

    assert picture.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(picture), pixels)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 2)))
def test_indices_take_their_palette_colours(indices: npt.NDArray[np.uint8]) -> None:
    palette = voc_palette(3)

    picture = Image.open(io.BytesIO(encode_png(indices, palette=palette)))

    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), indices)
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.array(palette, np.uint8)[indices])


def test_text_chunks_hold_any_script() -> None:
    text = {"classes": '["кот", "猫"]', "model": "deeplabv3 1.0"}

    assert Image.open(io.BytesIO(encode_png(np.zeros((1, 1), np.uint8), text=text))).info == text


@given(hnp.arrays(np.uint8, SHAPES), st.integers(1, 60))
def test_strips_do_not_change_the_file(pixels: npt.NDArray[np.uint8], strip_pixels: int) -> None:
    expected = encode_png(pixels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat_png, "row_strips", partial(row_strips, pixels=strip_pixels))
        in_strips = encode_png(pixels)

    assert in_strips == expected

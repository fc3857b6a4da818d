import io
import json
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import Image

from handler.answers import explanation_png
from handler.answers.explanation_png import apply_turbo, draw_explanation, encode
from handler.masks.explanation import Explanation
from handler.options import ModelIdentity
from handler.strips import row_strips

MODEL = ModelIdentity("deeplabv3", "1.0")


def test_an_explanation_is_a_png_of_the_images_size_with_text_chunks() -> None:
    response = encode(explanation_of([[0, 1]], height=5, width=9, cells=1), MODEL)

    picture = Image.open(io.BytesIO(response.body))
    assert response.content_type == "image/png"
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (9, 5))
    assert picture.info["class"] == "Kätzchen"
    assert json.loads(picture.info["explanation"]) == {"method": "seg-grad-cam", "class_index": 1, "cells": 1}
    assert picture.info["model"] == "deeplabv3 1.0"


@given(st.integers(1, 40), st.integers(1, 40))
def test_image_and_grid_may_have_any_size(height: int, width: int) -> None:
    assert draw_explanation(explanation_of([[0.5] * (41 - width)] * (41 - height), height=height, width=width)).size == (
        width,
        height,
    )


def test_without_heat_the_photograph_is_unchanged() -> None:
    pixels = np.asarray(draw_explanation(explanation_of([[0, 0]], height=4, width=6), alpha=1))

    assert (pixels == 100).all()


def test_the_colours_are_turbo() -> None:
    levels = np.arange(256, dtype=np.uint8)

    colours = np.asarray(apply_turbo(Image.fromarray(levels[None])))[0]

    np.testing.assert_allclose(colours.astype(int), colormaps["turbo"](levels, bytes=True)[:, :3], atol=7)


@pytest.mark.parametrize(("alpha", "expected"), [(0, [100, 100, 100]), (0.5, [111, 52, 51]), (1, [122, 4, 2])])
def test_alpha_is_the_opacity_at_maximum_heat(alpha: float, expected: list[int]) -> None:
    pixels = np.asarray(draw_explanation(explanation_of([[1]], height=2, width=2), alpha))

    assert pixels[0, 0].tolist() == expected


def test_opacity_follows_the_square_root_of_heat() -> None:
    heat = [[0, 0.04, 0.25, 1]]

    black, white = (np.asarray(draw_explanation(explanation_of(heat, height=1, width=4, grey=grey)), int) for grey in (0, 255))

    # The tint hides part of the difference between a white and a black photograph.
    np.testing.assert_allclose((white - black)[0, :, 0] / 255, [1, 0.9, 0.75, 0.5], atol=0.01)


def test_heat_is_interpolated_between_half_pixel_centres() -> None:
    pixels = np.asarray(draw_explanation(explanation_of([[0, 1]], height=1, width=4), alpha=1))
    expected = np.asarray(draw_explanation(explanation_of([[0, 0.25, 0.75, 1]], height=1, width=4), alpha=1))

    np.testing.assert_array_equal(pixels, expected)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 12), st.integers(1, 200))
def test_strips_have_no_seams(height: int, width: int, grid_height: int, strip_pixels: int) -> None:
    heat = np.random.default_rng(height).random((grid_height, 3)).tolist()
    expected = np.asarray(draw_explanation(explanation_of(heat, height=height, width=width)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explanation_png, "row_strips", partial(row_strips, pixels=strip_pixels))
        in_strips = np.asarray(draw_explanation(explanation_of(heat, height=height, width=width)))

    # A level of 255 may round the other way, which changes a colour by a few levels.
    assert np.abs(in_strips.astype(int) - expected).max() <= 8


def test_the_image_array_is_not_modified() -> None:
    result = explanation_of([[1]], height=200, width=300)

    draw_explanation(result)

    assert (result.image == 100).all()


def test_the_legend_is_drawn_where_it_fits() -> None:
    without_legend = np.asarray(draw_explanation(explanation_of([[0]], height=8, width=8)))
    with_legend = np.asarray(draw_explanation(explanation_of([[0]], height=200, width=300)))

    assert (without_legend == 100).all()
    assert (with_legend[:20, :60] != 100).any()
    assert (with_legend[100:] == 100).all()


def test_the_legend_notes_an_absent_class() -> None:
    present, absent = (
        np.asarray(draw_explanation(explanation_of([[0]], height=200, width=300, cells=cells))) for cells in (1, 0)
    )

    assert legend_width(absent) > 1.5 * legend_width(present)


def legend_width(pixels: npt.NDArray[np.uint8]) -> int:
    return int((pixels != 100).any(axis=(0, 2)).sum())


def explanation_of(heat: list[list[float]], *, height: int, width: int, cells: int = 1, grey: int = 100) -> Explanation:
    """Build an explanation of a grey photograph."""
    return Explanation(np.full((height, width, 3), grey, np.uint8), 1, "Kätzchen", np.array(heat, np.float32), cells)

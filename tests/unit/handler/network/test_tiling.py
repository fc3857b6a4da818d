from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handler.geometry import DecodedImage, network_size
from handler.network.tiling import WHOLE_IMAGE, Tile, blend, list_tiles, resize_tile, resize_to_network
from model import ResizePolicy
from tests.support import noise

counts = st.integers(1, 6)
grids = st.tuples(st.integers(1, 9), st.integers(1, 9))


@pytest.mark.parametrize(
    ("tile", "box"),
    [
        (WHOLE_IMAGE, (0, 0, 14, 7)),
        (Tile(row=0, column=0, count=2), (0, 0, 8, 4)),
        (Tile(row=0, column=1, count=2), (6, 0, 14, 4)),
        (Tile(row=1, column=0, count=2), (0, 3, 8, 7)),
        (Tile(row=1, column=1, count=2), (6, 3, 14, 7)),
    ],
)
def test_tiles_share_a_quarter_with_their_neighbours(tile: Tile, box: tuple[float, ...]) -> None:
    assert tile.box((7, 14)) == box


@given(st.integers(1, 65_500), st.integers(1, 65_500), counts)
def test_tiles_lie_in_the_image_and_reach_its_edges(height: int, width: int, count: int) -> None:
    first, last = Tile(0, 0, count).box((height, width)), Tile(count - 1, count - 1, count).box((height, width))

    assert first[:2] == (0, 0)
    assert last[2:] == (width, height)


@given(st.integers(1, 4000), st.integers(1, 4000), counts)
def test_a_tile_has_the_aspect_ratio_of_the_image(height: int, width: int, count: int) -> None:
    left, top, right, bottom = Tile(count - 1, 0, count).box((height, width))

    assert (right - left) * height == pytest.approx((bottom - top) * width)


def test_one_tile_is_the_whole_image() -> None:
    assert list_tiles(1) == [WHOLE_IMAGE]


def test_an_image_of_the_networks_size_is_not_copied() -> None:
    image = noise(64, 48)

    assert resize_to_network(DecodedImage.from_pixels(image), ResizePolicy(side="long", size=64)) is image


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([2, 3]), st.sampled_from([0.5, 1]))
def test_a_tile_is_its_part_of_the_resized_image(height: int, width: int, count: int, scale: float) -> None:
    image, policy = noise(height, width), ResizePolicy(side="long", size=32, multiple=8)
    size = network_size(policy, (height, width), scale)
    last = resize_tile(DecodedImage.from_pixels(image), list_tiles(count)[-1], size)
    rows, columns, _ = last.shape
    tile_sides = Fraction(3 * count + 1, 4)

    resized = Image.fromarray(image).resize((int(columns * tile_sides), int(rows * tile_sides)), Image.Resampling.BILINEAR)

    # Pillow rounds to integers after the rows and after the columns, not always to the same one.
    np.testing.assert_allclose(last, np.asarray(resized, int)[-rows:, -columns:], atol=2)


def test_weights_fall_and_rise_linearly_where_tiles_overlap() -> None:
    left, right = np.zeros((2, 1, 8), np.float32), np.zeros((2, 1, 8), np.float32)
    left[0], right[1] = 1, 1

    blended = blend({Tile(row, column, 2): (left, right)[column] for row in range(2) for column in range(2)})

    # Of 14 cells the left tile has the first 8, the right one the last 8.
    np.testing.assert_allclose(blended[0, 0], [1, 1, 1, 1, 1, 1, 0.75, 0.25, 0, 0, 0, 0, 0, 0], atol=1e-6)


@given(grids, counts, st.integers(0, 99))
def test_blended_probabilities_sum_to_1(grid: tuple[int, int], count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    tiles = [Tile(row, column, count) for row in range(count) for column in range(count)]

    blended = blend({tile: random.dirichlet([1] * 3, grid).transpose(2, 0, 1).astype(np.float32) for tile in tiles})

    np.testing.assert_allclose(blended.sum(0), 1, atol=1e-5)
    assert blended.min() >= 0


@given(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.sampled_from([1, 2, 3, 4, 5]), st.integers(0, 99))
def test_values_that_tiles_agree_on_are_reproduced_exactly(size: tuple[int, int], count: int, seed: int) -> None:
    """This holds if a tile's cells coincide with those of the common grid, as they do if their number is a multiple of four."""
    quarters = 3 * count + 1
    rows, columns = size
    probabilities = np.random.default_rng(seed).random((2, rows * quarters, columns * quarters), dtype=np.float32)

    blended = blend(
        {
            Tile(row, column, count): probabilities[:, 3 * row * rows :, 3 * column * columns :][:, : 4 * rows, : 4 * columns]
            for row in range(count)
            for column in range(count)
        }
    )

    np.testing.assert_allclose(blended, probabilities, atol=1e-6)


@given(grids, counts)
def test_the_common_grid_is_no_coarser_than_the_grid_of_a_tile(grid: tuple[int, int], count: int) -> None:
    tiles = [Tile(row, column, count) for row in range(count) for column in range(count)]

    blended = blend({tile: np.ones((1, *grid), np.float32) for tile in tiles})

    for cells, common_cells in zip(grid, blended.shape[1:], strict=True):
        assert common_cells >= cells * (3 * count + 1) / 4 > common_cells - 1

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.geometry import DecodedImage, RGBImage
from handler.network.tiling import Tile
from handler.network.views import View, ViewPlan, group_by_size, mean_probabilities
from handler.options import MIN_SCALE, InferenceOptions
from model import ResizePolicy
from tests.support import noise

POLICY = ResizePolicy(side="long", size=32)
PICTURE = np.zeros((1, 1, 3), np.uint8)
counts = st.integers(1, 4)
scales = st.lists(st.floats(MIN_SCALE, 2), min_size=1, max_size=3, unique=True).map(tuple)


def test_the_network_sees_each_scale_and_its_mirror_image() -> None:
    image = noise(32, 16)

    views = make_views(image, POLICY, InferenceOptions(scales=(0.5, 1), flip=True))

    assert [(view.pixels.shape, view.mirrored) for view in views] == [
        ((16, 8, 3), False), ((16, 8, 3), True), ((32, 16, 3), False), ((32, 16, 3), True),
    ]  # fmt: skip
    np.testing.assert_array_equal(views[2].pixels, image)
    np.testing.assert_array_equal(views[3].pixels, image[:, ::-1])


def test_the_network_sees_each_tile_at_each_scale_and_its_mirror_image() -> None:
    image = noise(56, 28)

    views = make_views(image, POLICY, InferenceOptions(scales=(0.5, 1), flip=True, tiles=2))

    tiles = [Tile(0, 0, 2), Tile(0, 1, 2), Tile(1, 0, 2), Tile(1, 1, 2)]
    assert [(view.pixels.shape, view.tile, view.mirrored) for view in views] == [
        (shape, tile, mirrored) for shape in ((16, 8, 3), (32, 16, 3)) for tile in tiles for mirrored in (False, True)
    ]
    np.testing.assert_array_equal(views[-2].pixels, image[24:, 12:])
    np.testing.assert_array_equal(views[-1].pixels, image[24:, :11:-1])


@given(st.tuples(st.integers(1, 80), st.integers(1, 80)), scales, st.booleans(), counts, st.sampled_from([1, 16]))
def test_the_networks_pixels_are_counted_without_making_the_views(
    size: tuple[int, int], scales: tuple[float, ...], flip: bool, tiles: int, multiple: int
) -> None:
    policy = POLICY.model_copy(update={"multiple": multiple})
    options = InferenceOptions(scales=scales, flip=flip, tiles=tiles)

    views = make_views(np.zeros((*size, 3), np.uint8), policy, options)

    assert ViewPlan.for_image(size, policy, options).pixels == sum(view.pixels.size // 3 for view in views)


def test_views_are_grouped_by_size() -> None:
    small, large = View(noise(4, 4)), View(noise(8, 8))

    assert list(group_by_size({"a": small, "b": large, "c": small, "d": small}, 2)) == [["a", "c"], ["d"], ["b"]]


def test_probabilities_are_averaged_with_equal_weights() -> None:
    views = [View(PICTURE)] * 3

    mean = mean_probabilities(views, [logits([0.5]), logits([0.8]), logits([0.2])])

    np.testing.assert_allclose(mean, [[[0.5]], [[0.5]]], atol=1e-6)


def test_a_mirrored_view_is_flipped_back() -> None:
    views = [View(PICTURE), View(PICTURE, mirrored=True)]

    mean = mean_probabilities(views, [logits([0.9, 0.1]), logits([0.3, 0.7])])

    np.testing.assert_allclose(mean[0], [[0.8, 0.2]], atol=1e-6)


def test_a_coarse_view_is_interpolated_to_the_finest_grid() -> None:
    views = [View(PICTURE), View(PICTURE)]

    mean = mean_probabilities(views, [logits([0.9, 0.1]), logits([0.5] * 4)])

    # Cells of a grid of 2 have their centres at 1/4 and 3/4, of 4 at 1/8, 3/8, 5/8, 7/8; nothing is extrapolated.
    np.testing.assert_allclose(mean[0], [[0.7, 0.6, 0.4, 0.3]], atol=1e-6)


def test_views_are_averaged_in_their_own_tile() -> None:
    left, right = Tile(0, 0, 2), Tile(0, 1, 2)
    top_views = [View(PICTURE, tile=left), View(PICTURE, mirrored=True, tile=left), View(PICTURE, tile=right)]
    bottom_views = [View(PICTURE, tile=Tile(1, 0, 2)), View(PICTURE, tile=Tile(1, 1, 2))]

    mean = mean_probabilities(top_views + bottom_views, [logits([p] * 4) for p in (0.8, 0.6, 0.3, 0.7, 0.3)])

    # Of 7 cells the left tile has the first 4, the right one the last 4; they share the one in the middle.
    np.testing.assert_allclose(mean[0], np.broadcast_to([[0.7] * 3 + [0.5] + [0.3] * 3], (2, 7)), atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_probabilities_that_all_views_share_are_unchanged(mirrored: bool) -> None:
    views = [View(PICTURE), View(PICTURE, mirrored)]

    mean = mean_probabilities(views, [logits([0.25] * 3), logits([0.25] * 5)])

    np.testing.assert_allclose(mean, np.broadcast_to([[[0.25]], [[0.75]]], (2, 1, 5)), atol=1e-6)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.booleans()), min_size=1, max_size=5), st.integers(0, 99))
def test_mean_probabilities_sum_to_1(grids: list[tuple[int, int, bool]], seed: int) -> None:
    random = np.random.default_rng(seed)

    mean = mean_probabilities(
        [View(PICTURE, mirrored) for _, _, mirrored in grids],
        [random.normal(size=(4, height, width)).astype(np.float32) for height, width, _ in grids],
    )

    np.testing.assert_allclose(mean.sum(0), 1, atol=1e-5)
    assert mean.min() >= 0


def make_views(image: RGBImage, policy: ResizePolicy, options: InferenceOptions) -> list[View]:
    decoded = DecodedImage.from_pixels(image)
    return ViewPlan.for_image(decoded.size, policy, options).make_views(decoded)


def logits(probability: list[float]) -> npt.NDArray[np.float32]:
    """Return logits of two classes, 2×1×w, that give the first class these probabilities."""
    first = np.array([probability], np.float32)
    return np.log([first, 1 - first], dtype=np.float32)

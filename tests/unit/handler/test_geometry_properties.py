"""Properties for images of any size: where in the image an answer lies, and what it costs."""

import io

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from handler.answers import EncodedResponse
from handler.errors import InferenceTooLarge
from handler.geometry import RGBImage, Size
from handler.masks import upper_envelope as envelope
from handler.masks.label_map import make_label_map
from handler.network.views import ViewPlan
from handler.options import MIN_SCALE, AnswerOptions, InferenceOptions, SegmentationRequest
from handler.scheduler import Outcome
from model import ResizePolicy
from tests.engines import MirrorEngine, StrideEngine, build_pipeline, build_scheduler
from tests.support import AS_STORED, encode, noise

MAX_SIDE = 4000
PNG = AnswerOptions(format="png")
POLICY = ResizePolicy(side="short", size=32, multiple=8)


@st.composite
def sizes(draw: st.DrawFn, max_pixels: int) -> Size:
    """Draw height and width, 1 to `MAX_SIDE`, each power of two equally often; long images are narrow, in either direction."""
    power = draw(st.integers(0, MAX_SIDE.bit_length() - 1))
    first = draw(st.integers(2**power, min(MAX_SIDE, 2 ** (power + 1))))
    second = draw(st.integers(1, min(MAX_SIDE, max(1, max_pixels // first))))
    return draw(st.sampled_from([(first, second), (second, first)]))


orientations = st.integers(1, 8)
policies = st.builds(
    ResizePolicy,
    side=st.sampled_from(["short", "long"]),
    size=st.integers(32, 96),
    multiple=st.sampled_from([1, 8, 16, 32]),
    max_aspect=st.floats(1, 8),
)
inference_options = st.builds(
    InferenceOptions,
    scales=st.lists(st.floats(MIN_SCALE, 2), min_size=1, max_size=2, unique=True).map(tuple),
    flip=st.booleans(),
    tiles=st.integers(1, 3),
)
strides = st.sampled_from([1, 2, 4, 8])


@pytest.mark.slow
@given(sizes(max_pixels=200_000), orientations, policies)
@example((MAX_SIDE, 1), 6, POLICY)
@example((1, MAX_SIDE), 8, POLICY)
@example((MAX_SIDE, MAX_SIDE), 7, POLICY)
def test_the_mask_has_the_size_of_the_upright_image(size: Size, orientation: int, policy: ResizePolicy) -> None:
    upright = np.full((*size, 3), 128, np.uint8)

    (outcome,) = build_scheduler(MirrorEngine(), policy=policy).answer(
        [SegmentationRequest(encode_with_orientation(upright, orientation), answer=PNG)]
    )

    assert mask_of(outcome).shape == size


@given(sizes(max_pixels=20_000), orientations, policies, inference_options)
def test_the_mask_does_not_depend_on_the_stored_orientation(
    size: Size, orientation: int, policy: ResizePolicy, options: InferenceOptions
) -> None:
    files = [encode_with_orientation(noise(*size), file_orientation) for file_orientation in (1, orientation)]

    upright, rotated = build_scheduler(MirrorEngine(), policy=policy).answer(
        [SegmentationRequest(file, options, PNG) for file in files]
    )

    np.testing.assert_array_equal(mask_of(rotated), mask_of(upright))


@given(sizes(max_pixels=20_000), orientations)
def test_a_rotated_image_has_the_rotated_mask(size: Size, orientation: int) -> None:
    assume(max(size) >= 32)
    image = noise(*size)
    pipeline = build_pipeline(MirrorEngine(), policy=unscaled_policy(size))

    mask, rotated = (pipeline.segment(picture).label_map for picture in (image, rotate(image, orientation)))

    np.testing.assert_array_equal(rotated, rotate(mask, orientation))


@given(sizes(max_pixels=2_000), strides, st.booleans())
@example((MAX_SIDE, 1), 1, False)
@example((1, MAX_SIDE), 1, True)
def test_a_checkerboard_of_grid_cells_is_reproduced_exactly(cells: Size, stride: int, flip: bool) -> None:
    board = checkerboard(cells, stride)
    height, width = board.shape
    assume(32 <= max(height, width) <= 4096)  # What a policy can name.

    result = build_pipeline(StrideEngine(stride), policy=unscaled_policy((height, width))).segment(
        paint(board), InferenceOptions(flip=flip)
    )

    np.testing.assert_array_equal(result.label_map, board)


@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(2, 4), strides, st.booleans())
def test_a_checkerboard_is_reproduced_exactly_from_tiles(quarters: Size, count: int, stride: int, flip: bool) -> None:
    """A tile has four times `quarters` cells, and the network sees it unscaled."""
    assume(4 * stride * max(quarters) >= 32)
    tile_quarters = 3 * count + 1
    board = checkerboard((tile_quarters * quarters[0], tile_quarters * quarters[1]), stride)
    policy = ResizePolicy(side="long", size=4 * stride * max(quarters))

    result = build_pipeline(StrideEngine(stride), policy=policy).segment(paint(board), InferenceOptions(tiles=count, flip=flip))

    np.testing.assert_array_equal(result.label_map, board)


@given(sizes(max_pixels=600), strides, st.data())
def test_a_shifted_image_gives_the_shifted_mask(cells: Size, stride: int, data: st.DataObject) -> None:
    """For shifts by whole grid cells, except at the edges across the shift, beyond which the images have different cells."""
    size = (cells[0] * stride, cells[1] * stride)
    down, right = (data.draw(st.integers(0, count - 1)) * stride for count in cells)
    assume(32 <= max(size) <= 4096)
    canvas = noise(size[0] + down, size[1] + right)
    pipeline = build_pipeline(StrideEngine(stride), policy=unscaled_policy(size))

    mask = pipeline.segment(canvas[: size[0], : size[1]]).label_map
    shifted_mask = pipeline.segment(canvas[down:, right:]).label_map

    rows, columns = (stride // 2 if shift else 0 for shift in (down, right))
    np.testing.assert_array_equal(
        mask[down + rows : size[0] - rows, right + columns : size[1] - columns],
        shifted_mask[rows : size[0] - down - rows, columns : size[1] - right - columns],
    )


@given(
    st.tuples(st.integers(2, 6), st.integers(1, 40), st.integers(1, 40)),
    sizes(max_pixels=200_000),
    st.integers(0, 2**32 - 1),
)
@example((21, 5, 1), (MAX_SIDE, 1), 0)
@example((21, 1, 5), (1, MAX_SIDE), 0)
def test_labels_equal_torchs_interpolation_and_argmax(shape: tuple[int, int, int], size: Size, seed: int) -> None:
    """Except where two classes are equal within torch's rounding of a position in the image: there either may win."""
    logits = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    differing, margin = compare_with_torch(logits, size)

    assert margin[differing].max(initial=0) < 5e-5


@pytest.mark.slow
def test_few_pixels_of_a_large_image_are_ties() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 30, 40)).astype(np.float32)

    differing, margin = compare_with_torch(logits, (MAX_SIDE, MAX_SIDE))

    assert np.count_nonzero(differing) < 100
    assert margin[differing].max(initial=0) < 5e-5


@given(sizes(max_pixels=100_000), st.integers(0, 99), st.integers(1, 1000), st.integers(1, 100_000))
def test_labels_do_not_depend_on_the_strip_size(size: Size, seed: int, values: int, pixels: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(3, 7, 5)).astype(np.float32)
    expected = make_label_map(logits, size, np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "_VALUES_AT_ONCE", values)
        patch.setattr(envelope, "_PIXELS_AT_ONCE", pixels)
        in_parts = make_label_map(logits, size, np.uint8)

    np.testing.assert_array_equal(in_parts, expected)


@given(sizes(max_pixels=50_000), policies, inference_options)
@example((MAX_SIDE, 1), POLICY, InferenceOptions(tiles=3))
@example((1, MAX_SIDE), POLICY, InferenceOptions(scales=(0.25, 2), flip=True, tiles=3))
def test_the_cost_is_the_number_of_pixels_that_the_network_sees(
    size: Size, policy: ResizePolicy, options: InferenceOptions
) -> None:
    request = SegmentationRequest(encode(np.full((*size, 3), 128, np.uint8)), options, PNG)
    cost, engine = ViewPlan.for_image(size, policy, options).pixels, MirrorEngine()

    (answer,) = build_scheduler(engine, policy=policy, max_network_pixels=cost).answer([request])
    (refusal,) = build_scheduler(MirrorEngine(), policy=policy, max_network_pixels=cost - 1).answer([request])

    assert isinstance(answer, EncodedResponse)
    assert engine.pixels_seen == cost
    assert isinstance(refusal, InferenceTooLarge)


def compare_with_torch(logits: npt.NDArray[np.float32], size: Size) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Return for each pixel whether its label differs from torch's interpolation and argmax, and the second class's margin."""
    values = F.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=False)[0]
    (best, second), (expected, _) = (tensor.numpy() for tensor in values.topk(2, dim=0))
    return make_label_map(logits, size, np.uint8) != expected, best - second


def unscaled_policy(size: Size) -> ResizePolicy:
    """Return the policy with which the network sees an image of `size` unscaled."""
    return ResizePolicy(side="long", size=max(size))


def checkerboard(cells: Size, square: int) -> npt.NDArray[np.intp]:
    """Draw classes 0 and 1 in squares with sides of `square` pixels."""
    return np.kron(np.indices(cells).sum(0) % 2, np.ones((square, square), int))


def paint(classes: npt.NDArray[np.intp]) -> RGBImage:
    """Return the picture that `MirrorEngine` sees as `classes`."""
    return np.eye(3, dtype=np.uint8)[classes] * np.uint8(200)


def rotate(picture: npt.NDArray[np.unsignedinteger], orientation: int) -> npt.NDArray[np.unsignedinteger]:
    """Return `picture` as a camera held in this orientation would store it."""
    image = Image.fromarray(picture)
    return np.asarray(image.transpose(AS_STORED[orientation]) if orientation in AS_STORED else image)


def encode_with_orientation(upright: RGBImage, orientation: int) -> bytes:
    """Encode a file that shows `upright`, with this EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(Image.fromarray(rotate(upright, orientation)), exif=exif)


def mask_of(outcome: Outcome) -> npt.NDArray[np.uint8]:
    assert isinstance(outcome, EncodedResponse), outcome
    with Image.open(io.BytesIO(outcome.body)) as picture:
        return np.asarray(picture)

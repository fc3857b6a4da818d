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

LONGEST = 4000
PNG = AnswerOptions(format="png")
POLICY = ResizePolicy(side="short", size=32, multiple=8)


@st.composite
def sizes(draw: st.DrawFn, most_pixels: int) -> Size:
    """Draw height and width, 1 to `LONGEST`, each power of two equally often; long images are narrow, in either direction."""
    power = draw(st.integers(0, LONGEST.bit_length() - 1))
    one = draw(st.integers(2**power, min(LONGEST, 2 ** (power + 1))))
    other = draw(st.integers(1, min(LONGEST, max(1, most_pixels // one))))
    return draw(st.sampled_from([(one, other), (other, one)]))


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
@given(sizes(most_pixels=200_000), orientations, policies)
@example((LONGEST, 1), 6, POLICY)
@example((1, LONGEST), 8, POLICY)
@example((LONGEST, LONGEST), 7, POLICY)
def test_the_mask_has_the_size_of_the_upright_image(size: Size, orientation: int, policy: ResizePolicy) -> None:
    upright = np.full((*size, 3), 128, np.uint8)

    (outcome,) = build_scheduler(MirrorEngine(), policy=policy).answer(
        [SegmentationRequest(as_stored(upright, orientation), answer=PNG)]
    )

    assert mask_of(outcome).shape == size


@given(sizes(most_pixels=20_000), orientations, policies, inference_options)
def test_an_image_has_one_mask_however_it_is_stored(
    size: Size, orientation: int, policy: ResizePolicy, options: InferenceOptions
) -> None:
    stored = [as_stored(noise(*size), stored_as) for stored_as in (1, orientation)]

    upright, other = build_scheduler(MirrorEngine(), policy=policy).answer(
        [SegmentationRequest(file, options, PNG) for file in stored]
    )

    np.testing.assert_array_equal(mask_of(other), mask_of(upright))


@given(sizes(most_pixels=20_000), orientations)
def test_a_turned_image_has_the_turned_mask(size: Size, orientation: int) -> None:
    assume(max(size) >= 32)
    image = noise(*size)
    pipeline = build_pipeline(MirrorEngine(), policy=untouched(size))

    mask, turned = (pipeline.segment(picture).label_map for picture in (image, turn(image, orientation)))

    np.testing.assert_array_equal(turned, turn(mask, orientation))


@given(sizes(most_pixels=2_000), strides, st.booleans())
@example((LONGEST, 1), 1, False)
@example((1, LONGEST), 1, True)
def test_a_checkerboard_of_the_networks_cells_comes_back_exactly(cells: Size, stride: int, flip: bool) -> None:
    board = checkerboard(cells, stride)
    height, width = board.shape
    assume(32 <= max(height, width) <= 4096)  # What a policy can name.

    result = build_pipeline(StrideEngine(stride), policy=untouched((height, width))).segment(
        painted(board), InferenceOptions(flip=flip)
    )

    np.testing.assert_array_equal(result.label_map, board)


@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(2, 4), strides, st.booleans())
def test_a_checkerboard_comes_back_exactly_from_tiles(quarters: Size, count: int, stride: int, flip: bool) -> None:
    """A tile has four times `quarters` cells, and the network sees it unscaled."""
    assume(4 * stride * max(quarters) >= 32)
    parts = 3 * count + 1
    board = checkerboard((parts * quarters[0], parts * quarters[1]), stride)
    policy = ResizePolicy(side="long", size=4 * stride * max(quarters))

    result = build_pipeline(StrideEngine(stride), policy=policy).segment(
        painted(board), InferenceOptions(tiles=count, flip=flip)
    )

    np.testing.assert_array_equal(result.label_map, board)


@given(sizes(most_pixels=600), strides, st.data())
def test_a_shifted_image_gives_the_shifted_mask(cells: Size, stride: int, data: st.DataObject) -> None:
    """For shifts by whole grid cells, except at the edges across the shift, beyond which the images have different cells."""
    size = (cells[0] * stride, cells[1] * stride)
    down, right = (data.draw(st.integers(0, count - 1)) * stride for count in cells)
    assume(32 <= max(size) <= 4096)
    canvas = noise(size[0] + down, size[1] + right)
    pipeline = build_pipeline(StrideEngine(stride), policy=untouched(size))

    here = pipeline.segment(canvas[: size[0], : size[1]]).label_map
    there = pipeline.segment(canvas[down:, right:]).label_map

    rows, columns = (stride // 2 if shift else 0 for shift in (down, right))
    np.testing.assert_array_equal(
        here[down + rows : size[0] - rows, right + columns : size[1] - columns],
        there[rows : size[0] - down - rows, columns : size[1] - right - columns],
    )


@given(
    st.tuples(st.integers(2, 6), st.integers(1, 40), st.integers(1, 40)),
    sizes(most_pixels=200_000),
    st.integers(0, 2**32 - 1),
)
@example((21, 5, 1), (LONGEST, 1), 0)
@example((21, 1, 5), (1, LONGEST), 0)
def test_labels_are_torchs_interpolation_then_argmax_pixel_for_pixel(
    shape: tuple[int, int, int], size: Size, seed: int
) -> None:
    """Except where two classes are equal within torch's rounding of a position in the image: there either may win."""
    logits = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    differing, margin = compare_with_torch(logits, size)

    assert margin[differing].max(initial=0) < 5e-5


@pytest.mark.slow
def test_hardly_a_pixel_of_a_large_image_is_such_a_tie() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 30, 40)).astype(np.float32)

    differing, margin = compare_with_torch(logits, (LONGEST, LONGEST))

    assert np.count_nonzero(differing) < 100
    assert margin[differing].max(initial=0) < 5e-5


@given(sizes(most_pixels=100_000), st.integers(0, 99), st.integers(1, 1000), st.integers(1, 100_000))
def test_labels_do_not_depend_on_how_much_is_done_at_once(size: Size, seed: int, values: int, pixels: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(3, 7, 5)).astype(np.float32)
    whole = make_label_map(logits, size, np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "_VALUES_AT_ONCE", values)
        patch.setattr(envelope, "_PIXELS_AT_ONCE", pixels)
        in_parts = make_label_map(logits, size, np.uint8)

    np.testing.assert_array_equal(in_parts, whole)


@given(sizes(most_pixels=50_000), policies, inference_options)
@example((LONGEST, 1), POLICY, InferenceOptions(tiles=3))
@example((1, LONGEST), POLICY, InferenceOptions(scales=(0.25, 2), flip=True, tiles=3))
def test_an_image_costs_the_pixels_that_the_network_sees_of_it(
    size: Size, policy: ResizePolicy, options: InferenceOptions
) -> None:
    request = SegmentationRequest(encode(np.full((*size, 3), 128, np.uint8)), options, PNG)
    cost, engine = ViewPlan.for_image(size, policy, options).pixels, MirrorEngine()

    (answered,) = build_scheduler(engine, policy=policy, max_network_pixels=cost).answer([request])
    (refused,) = build_scheduler(MirrorEngine(), policy=policy, max_network_pixels=cost - 1).answer([request])

    assert isinstance(answered, EncodedResponse)
    assert engine.pixels_seen == cost
    assert isinstance(refused, InferenceTooLarge)


def compare_with_torch(logits: npt.NDArray[np.float32], size: Size) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Return for each pixel whether its label differs from torch's interpolation and argmax, and the second class's margin."""
    values = F.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=False)[0]
    (best, second), (expected, _) = (tensor.numpy() for tensor in values.topk(2, dim=0))
    return make_label_map(logits, size, np.uint8) != expected, best - second


def untouched(size: Size) -> ResizePolicy:
    """Return the policy with which the network sees an image of `size` unscaled."""
    return ResizePolicy(side="long", size=max(size))


def checkerboard(cells: Size, square: int) -> npt.NDArray[np.intp]:
    """Draw classes 0 and 1 in squares with sides of `square` pixels."""
    return np.kron(np.indices(cells).sum(0) % 2, np.ones((square, square), int))


def painted(classes: npt.NDArray[np.intp]) -> RGBImage:
    """Return the picture that `MirrorEngine` sees as `classes`."""
    return np.eye(3, dtype=np.uint8)[classes] * np.uint8(200)


def turn(picture: npt.NDArray[np.unsignedinteger], orientation: int) -> npt.NDArray[np.unsignedinteger]:
    """Return `picture` as a camera held in this orientation would store it."""
    image = Image.fromarray(picture)
    return np.asarray(image.transpose(AS_STORED[orientation]) if orientation in AS_STORED else image)


def as_stored(upright: RGBImage, orientation: int) -> bytes:
    """Encode a file that shows `upright`, with this EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(Image.fromarray(turn(upright, orientation)), exif=exif)


def mask_of(outcome: Outcome) -> npt.NDArray[np.uint8]:
    assert isinstance(outcome, EncodedResponse), outcome
    with Image.open(io.BytesIO(outcome.body)) as picture:
        return np.asarray(picture)

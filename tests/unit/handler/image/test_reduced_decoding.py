"""JPEGs decoded no larger than the answer needs: their pixels, and the position of the image in them."""

import io
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from handler.answers import FORMATS
from handler.errors import ImageTooLarge, InvalidImage
from handler.geometry import DecodedImage, RGBImage, Size, resize_region
from handler.image.decode import open_image
from handler.limits import Limits
from handler.network.views import ViewPlan
from handler.options import MIN_SCALE, AnswerOptions, InferenceOptions, SegmentationRequest
from model import ResizePolicy
from tests.engines import MirrorEngine
from tests.support import AS_STORED, encode
from tests.unit.handler.image.image_files import DISPLAY_P3_TO_XYZ, matrix_profile
from tests.unit.handler.network.test_explain import linear_engine, pipeline

ONE_PIXEL = (1, 1)
POLICY = ResizePolicy(side="long", size=64)
sides = st.integers(1, 400)


@pytest.mark.parametrize(
    ("min_size", "reduced_size"),
    [
        ((401, 1), (801, 1607)),
        ((201, 401), (801, 1607)),
        ((200, 401), (401, 804)),
        ((100, 200), (201, 402)),
        ((50, 100), (101, 201)),
        ((1, 1), (101, 201)),
    ],
)
def test_a_reduced_image_has_at_least_twice_the_requested_size(min_size: Size, reduced_size: Size) -> None:
    decoded = decode(encode(Image.new("RGB", (1607, 801)), "JPEG"), min_size)

    assert decoded.pixels.shape[:2] == reduced_size
    assert decoded.size == (801, 1607)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_other_formats_are_decoded_in_full(file_format: str) -> None:
    decoded = decode(encode(Image.new("RGB", (161, 80)), file_format), ONE_PIXEL)

    assert decoded.photograph is decoded.pixels
    assert decoded.size == decoded.pixels.shape[:2] == (80, 161)


def test_a_jpeg_is_decoded_in_full_unless_a_size_is_given() -> None:
    decoded = decode(encode(Image.new("RGB", (161, 80)), "JPEG"))

    assert decoded.photograph is decoded.pixels


@given(st.integers(150, 300), st.integers(150, 300), st.integers(1, 8), st.sampled_from([2, 4, 8]))
def test_edges_keep_their_position(height: int, width: int, orientation: int, factor: int) -> None:
    """For every orientation, and whether or not the factor divides the sides; to a twentieth of a reduced pixel."""
    upright = draw_edges(height, width)
    min_size = (height // factor // 2, width // factor // 2)

    decoded = decode(jpeg_with_orientation(upright, orientation), min_size)

    assert decoded.size == (height, width)
    assert max(decoded.pixels.shape[:2]) == math.ceil(max(height, width) / factor)
    target = (height // factor, width // factor)
    expected, actual = resize_region(upright, (0, 0, width, height), target), resize_region(decoded.pixels, decoded.box, target)
    np.testing.assert_allclose(edge_positions(actual), edge_positions(expected), atol=0.05)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_reduced_image_keeps_the_colours(mode: str) -> None:
    profile = matrix_profile(DISPLAY_P3_TO_XYZ, 2.2) if mode == "RGB" else None
    data = encode(Image.fromarray(gradient(240, 320)).convert(mode), "JPEG", quality=95, icc_profile=profile)

    full, reduced = decode(data), decode(data, ONE_PIXEL)

    assert reduced.pixels.shape == (30, 40, 3)
    means = full.pixels.reshape(30, 8, 40, 8, 3).mean((1, 3))
    np.testing.assert_allclose(reduced.pixels, means, atol=6)


def test_an_srgb_profile_does_not_change_a_reduced_image() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain, tagged = (encode(Image.fromarray(gradient(64, 64)), "JPEG", icc_profile=icc) for icc in (None, profile))

    reduced = [decode(data, ONE_PIXEL).pixels for data in (plain, tagged)]

    np.testing.assert_array_equal(reduced[0], reduced[1])


def test_the_first_of_several_images_in_a_file_is_reduced() -> None:
    pictures = [Image.new("RGB", (80, 40), colour) for colour in ("red", "blue")]

    decoded = decode(encode(pictures[0], "MPO", save_all=True, append_images=pictures[1:]), ONE_PIXEL)

    assert decoded.pixels.shape == (5, 10, 3)
    assert (decoded.pixels.argmax(2) == 0).all()


def test_limits_apply_to_the_full_size() -> None:
    data = encode(Image.new("RGB", (1000, 1001)), "JPEG")

    with pytest.raises(ImageTooLarge, match=r"1,001,000.*1,000,000"):
        open_image(data, Limits(max_pixels=1_000_000))
    with pytest.raises(ImageTooLarge, match=r"1000×1001.*1,000"):
        open_image(data, Limits(max_side=1000))


def test_a_truncated_file_is_refused_at_any_scale() -> None:
    data = encode(Image.fromarray(gradient(200, 200)), "JPEG", quality=95)

    with pytest.raises(InvalidImage, match="truncated"):
        decode(data[: len(data) // 2], ONE_PIXEL)


@given(
    st.tuples(sides, sides),
    st.lists(st.floats(MIN_SCALE, 2), min_size=1, max_size=2, unique=True).map(tuple),
    st.integers(1, 3),
)
def test_no_view_is_upscaled_from_the_min_decode_size(size: Size, scales: tuple[float, ...], tiles: int) -> None:
    options = InferenceOptions(scales=scales, tiles=tiles)
    plan = ViewPlan.for_image(size, POLICY, options)
    height, width = plan.min_decode_size
    tile_sides = (3 * tiles + 1) / 4

    for view in plan.make_views(DecodedImage.from_pixels(np.zeros((*size, 3), np.uint8))):
        assert view.pixels.shape[0] * tile_sides <= height
        assert view.pixels.shape[1] * tile_sides <= width


def test_a_refinement_needs_the_size_at_scale_1() -> None:
    small = InferenceOptions(scales=(0.5,))

    refined = small.model_copy(update={"refine": "crf"})

    assert ViewPlan.for_image((900, 1600), POLICY, small).min_decode_size == (18, 32)
    assert ViewPlan.for_image((900, 1600), POLICY, refined).min_decode_size == (36, 64)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_answers_at_the_full_size(name: str) -> None:
    request = SegmentationRequest(encode(Image.fromarray(gradient(600, 803)), "JPEG"), answer=AnswerOptions(format=name))

    outcome = pipeline(MirrorEngine()).answer(request)

    if outcome.content_type.startswith("image/"):
        assert Image.open(io.BytesIO(outcome.body)).size == (803, 600)


@pytest.mark.parametrize("explain", [False, True])
def test_overlays_show_the_photograph_at_full_resolution(explain: bool) -> None:
    """Every pixel is shown: a reduced copy would lose a fine checkerboard."""
    checkerboard = np.repeat((64 + 128 * (np.indices((600, 800)).sum(0) % 2)).astype(np.uint8)[..., None], 3, 2)
    answer = AnswerOptions(format="png" if explain else "overlay", alpha=0)
    request = SegmentationRequest(encode(checkerboard, "JPEG", quality=95), answer=answer, explain=explain)

    outcome = pipeline(linear_engine()).answer(request)

    rendered = np.asarray(Image.open(io.BytesIO(outcome.body)).convert("L"))
    assert rendered[300:].std() > 50  # Below the legend.


def decode(data: bytes, min_size: Size | None = None) -> DecodedImage:
    return open_image(data, Limits()).decode(min_size)


def draw_edges(height: int, width: int) -> RGBImage:
    """Draw edges from dark to bright: red two fifths from the left, green two fifths from the top."""
    picture = np.full((height, width, 3), 64, np.uint8)
    picture[:, width * 2 // 5 :, 0] = 192
    picture[height * 2 // 5 :, :, 1] = 192
    return picture


def edge_positions(pixels: RGBImage) -> npt.NDArray[np.float64]:
    """Return how many columns are dark in red and how many rows in green, with fractions where an edge cuts a pixel."""
    red, green = pixels[0, :, 0].astype(np.float64), pixels[:, 0, 1].astype(np.float64)
    return np.array([((line[-1] - line) / (line[-1] - line[0])).sum() for line in (red, green)])


def gradient(height: int, width: int) -> RGBImage:
    rows, columns = np.indices((height, width))
    return np.stack([64 + rows * 128 // height, 64 + columns * 128 // width, np.full((height, width), 90)], -1).astype(np.uint8)


def jpeg_with_orientation(upright: RGBImage, orientation: int) -> bytes:
    picture, exif = Image.fromarray(upright), Image.Exif()
    exif[0x0112] = orientation
    rotated = picture.transpose(AS_STORED[orientation]) if orientation in AS_STORED else picture
    return encode(rotated, "JPEG", quality=100, subsampling=0, exif=exif)

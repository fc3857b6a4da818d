"""Samples of every kind, in every format that can hold them, decode to the right colours."""

import struct
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from handler.image.colour import SampleEncoding, write_rgb
from handler.image.decode import decode_image
from handler.limits import Limits
from tests.support import encode
from tests.unit.handler.image.image_files import png, tiff

Numbers = npt.NDArray[Any]
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
WHITE_IS_ZERO, BLACK_IS_ZERO, TIFF_RGB, TIFF_PALETTE, TIFF_CMYK = 0, 1, 2, 3, 5
ASSOCIATED, UNASSOCIATED = 1, 2


def random(*shape: int, bits: int = 8, kind: str = "u") -> Numbers:
    """Return random samples of a 7×9 image, the same each time."""
    rng = np.random.default_rng(0)
    if kind == "f":
        return rng.uniform(-0.2, 1.2, (7, 9, *shape)).astype(np.float32)
    return rng.integers(0, 1 << bits, (7, 9, *shape)).astype(f"{kind}{max(bits, 8) // 8}")


def over_white(colour: npt.ArrayLike, alpha: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the colour, 0..255, of a layer over white; `alpha` is 0..1."""
    opacity = np.asarray(alpha, np.float64)[..., None]
    values = np.asarray(colour, np.float64)
    return (values if values.ndim == 3 else values[..., None]) * opacity + 255 * (1 - opacity)


def assert_decoded(data: bytes, expected: npt.ArrayLike, tolerance: float = 0.51) -> None:
    expected_pixels = np.asarray(expected, np.float64)
    expected_pixels = expected_pixels if expected_pixels.ndim == 3 else expected_pixels[..., None]
    decoded = decode_image(data, Limits())

    assert decoded.shape == (*expected_pixels.shape[:2], 3)
    assert np.abs(decoded - expected_pixels).max() <= tolerance


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_grey_of_every_depth(bits: int) -> None:
    samples = random(bits=bits)

    assert_decoded(png(samples, GREY, bits), samples * 255.0 / (2**bits - 1))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_every_depth(bits: int) -> None:
    samples = random(bits=bits)
    key = int(samples[3, 4])

    expected = over_white(samples * 255.0 / (2**bits - 1), samples != key)
    assert_decoded(png(samples, GREY, bits, {b"tRNS": struct.pack(">H", key)}), expected)


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0), (16, 1)])
def test_a_transparent_rgb_colour(bits: int, tolerance: float) -> None:
    samples = random(3, bits=bits)
    key = samples[3, 4]

    expected = over_white(samples * 255.0 / (2**bits - 1), (samples != key).any(-1))
    assert_decoded(png(samples, RGB, bits, {b"tRNS": struct.pack(">3H", *key.tolist())}), expected, tolerance)


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.51), (16, 1.6)])
@pytest.mark.parametrize(("colour_type", "bands"), [(RGB, 3), (GREY_ALPHA, 2), (RGBA, 4)])
def test_png_colour_and_alpha(bits: int, tolerance: float, colour_type: int, bands: int) -> None:
    samples = random(bands, bits=bits)
    scaled = samples / (2**bits - 1)

    expected = scaled * 255 if bands == 3 else over_white(scaled[..., :-1] * 255, scaled[..., -1])
    assert_decoded(png(samples, colour_type, bits), expected, tolerance)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", ["none", "one index", "partial"])
def test_png_palettes(bits: int, transparency: str) -> None:
    indices, colours = random(bits=bits), np.random.default_rng(1).integers(0, 256, (1 << bits, 3)).astype(np.uint8)
    alpha = {
        "none": np.full(1 << bits, 255),
        "one index": np.array([255, 0, *[255] * ((1 << bits) - 2)]),
        "partial": np.random.default_rng(2).integers(0, 256, 1 << bits),
    }[transparency].astype(np.uint8)
    chunks = {b"PLTE": colours.tobytes()} | ({} if transparency == "none" else {b"tRNS": alpha.tobytes()})

    assert_decoded(png(indices, PALETTE, bits, chunks), over_white(colours[indices], alpha[indices] / 255))


def test_an_index_outside_the_palette_is_black() -> None:
    assert_decoded(png(np.array([[0, 9]]), PALETTE, 8, {b"PLTE": b"\xff\0\0"}), [[[255, 0, 0], [0, 0, 0]]])


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "bits"), [("u", 8), ("u", 16), ("i", 16), ("i", 32), ("f", 32)])
def test_tiff_grey_of_every_type(deflate: bool, order: Literal["<", ">"], kind: str, bits: int) -> None:
    samples = random(bits=min(bits, 15 if kind == "i" else 16), kind=kind).astype(f"{kind}{bits // 8}")
    white = 1 if kind == "f" else 255 if bits == 8 else 65535

    data = tiff(samples, BLACK_IS_ZERO, order=order, deflate=deflate)
    assert_decoded(data, np.clip(samples / white, 0, 1) * 255)


@pytest.mark.parametrize(("kind", "bits"), [("u", 8), ("u", 16), ("f", 32)])
def test_tiff_grey_whose_zero_is_white(kind: str, bits: int) -> None:
    samples = random(bits=bits, kind=kind)
    white = 1 if kind == "f" else 2**bits - 1

    assert_decoded(tiff(samples, WHITE_IS_ZERO), 255 - np.clip(samples / white, 0, 1) * 255)


def test_tiff_grey_of_12_bits() -> None:
    samples = np.array([[0, 4095], [2048, 16]])
    bit_array = (samples[..., None] >> np.arange(11, -1, -1)) & 1
    packed = np.packbits(bit_array.reshape(2, -1).astype(np.uint8), axis=1)

    assert_decoded(tiff(packed, BLACK_IS_ZERO, tags={256: [2], 258: [12]}), samples * 255 / 4095)


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.51), (16, 2.1)])
@pytest.mark.parametrize(("photometric", "bands"), [(TIFF_RGB, 3), (TIFF_RGB, 4), (TIFF_CMYK, 4)])
def test_tiff_colour(
    planes: bool, deflate: bool, order: Literal["<", ">"], bits: int, tolerance: float, photometric: int, bands: int
) -> None:
    samples = random(bands, bits=bits)
    scaled = samples / (2**bits - 1)
    if photometric == TIFF_CMYK:
        expected = 255 * (1 - scaled[..., :3]) * (1 - scaled[..., 3:])
    else:
        expected = scaled * 255 if bands == 3 else over_white(scaled[..., :3] * 255, scaled[..., 3])
    tags = {338: [UNASSOCIATED]} if (photometric, bands) == (TIFF_RGB, 4) else {}

    data = tiff(samples, photometric, order=order, planes=planes, deflate=deflate, tags=tags)
    assert_decoded(data, expected, tolerance)


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 1.01), (16, 3)])
def test_premultiplied_alpha_is_not_multiplied_again(bits: int, tolerance: float) -> None:
    samples, white = random(4, bits=bits), 2**bits - 1
    samples[..., :3] = samples[..., :3] / white * samples[..., 3:]

    expected = samples[..., :3] / white * 255 + 255 * (1 - samples[..., 3:] / white)
    assert_decoded(tiff(samples, TIFF_RGB, tags={338: [ASSOCIATED]}), expected, tolerance)


def test_tiff_grey_with_alpha() -> None:
    samples = random(2)

    data = tiff(samples, BLACK_IS_ZERO, tags={338: [UNASSOCIATED]})
    assert_decoded(data, over_white(samples[..., :1], samples[..., 1] / 255))


@pytest.mark.parametrize("with_alpha", [False, True])
def test_tiff_palettes(with_alpha: bool) -> None:
    samples, colours = random(2), np.random.default_rng(1).integers(0, 256, (256, 3))
    tags: dict[int, Any] = {320: (colours.T * 256).ravel().tolist()} | ({338: [UNASSOCIATED]} if with_alpha else {})

    expected = over_white(colours[samples[..., 0]], samples[..., 1] / 255 if with_alpha else np.ones((7, 9)))
    assert_decoded(tiff(samples if with_alpha else samples[..., 0].copy(), TIFF_PALETTE, tags=tags), expected)


@pytest.mark.parametrize("deflate", [False, True])
def test_tiff_grey_with_alpha_in_separate_planes(deflate: bool) -> None:
    samples = random(2)

    data = tiff(samples, BLACK_IS_ZERO, planes=True, deflate=deflate, tags={338: [UNASSOCIATED]})
    assert_decoded(data, over_white(samples[..., :1], samples[..., 1] / 255))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["f2", "f8", "u4", "u8", "i1", "i8"])
def test_tiff_grey_of_types_that_pillow_does_not_read(kind: str, order: Literal["<", ">"]) -> None:
    samples = (np.random.default_rng(0).uniform(-0.2, 1.2, (7, 9)) if kind[0] == "f" else random(bits=7)).astype(kind)
    white = {"f": 1, "i1": 255}.get(kind if kind == "i1" else kind[0], 65_535)

    assert_decoded(tiff(samples, BLACK_IS_ZERO, order=order), np.clip(samples.astype(np.float64) / white, 0, 1) * 255)


def test_cmyk_jpegs_are_inverted_as_adobe_does() -> None:
    cmyk = (200, 100, 50, 30)

    expected = np.full((16, 16, 3), [(255 - ink) * (255 - cmyk[3]) / 255 for ink in cmyk[:3]])
    assert_decoded(encode(Image.new("CMYK", (16, 16), cmyk), "JPEG", quality=100), expected, tolerance=2)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_is_black_and_white(file_format: str) -> None:
    samples = random(bits=1)

    assert_decoded(encode(Image.fromarray(samples.astype(bool)), file_format), samples * 255.0)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("mode", ["L", "P"])
def test_eight_bits_in_every_lossless_format(file_format: str, mode: str) -> None:
    samples, colours = random(), np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)
    picture = Image.fromarray(samples)
    if mode == "P":
        picture.putpalette(colours.tobytes())

    assert_decoded(encode(picture, file_format), colours[samples] if mode == "P" else samples)


def test_lossless_webp_with_alpha() -> None:
    samples = random(4)

    data = encode(Image.fromarray(samples), "WEBP", lossless=True, exact=True)
    assert_decoded(data, over_white(samples[..., :3], samples[..., 3] / 255))


def test_a_transparent_gif_colour() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)

    assert_decoded(encode(picture, "GIF", transparency=1), [[[10, 20, 30], [255, 255, 255]]])


@pytest.mark.parametrize(
    ("mode", "white"),
    [
        ("1", 255),
        ("L", 255),
        ("LA", (255, 255)),
        ("La", (255, 255)),
        ("P", 255),
        ("PA", (255, 255)),
        ("RGB", (255, 255, 255)),
        ("RGBA", (255, 255, 255, 255)),
        ("RGBa", (255, 255, 255, 255)),
        ("RGBX", (255, 255, 255, 0)),
        ("CMYK", (0, 0, 0, 0)),
        ("YCbCr", (255, 128, 128)),
        ("LAB", (255, 128, 128)),
        ("HSV", (77, 0, 255)),
        ("I;16", 65535),
        ("I;16L", 65535),
        ("I;16B", 65535),
        ("I;16N", 65535),
        ("I", 65535),
        ("F", 1),
    ],
)
def test_every_pillow_mode_gives_white_for_white(mode: str, white: int | tuple[int, ...]) -> None:
    picture = Image.new(mode, (3, 2), white)
    if mode in ("P", "PA"):
        picture.putpalette([255] * 768)
    out = np.zeros((2, 3, 3), np.uint8)

    write_rgb(picture, SampleEncoding(), out)

    assert out.min() >= 254

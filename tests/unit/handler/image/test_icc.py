"""Embedded profiles, compared with the formulas that they represent."""

import logging
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from handler.image.decode import decode_image
from handler.image.icc import srgb_transform
from handler.limits import Limits
from tests.support import encode, noise
from tests.unit.handler.image.image_files import (
    D50,
    DISPLAY_P3_TO_XYZ,
    SRGB_TO_XYZ,
    cmyk_profile,
    grey_profile,
    matrix_profile,
    png,
    png_chunk,
    srgb_of_xyz,
    xyz_of_lab,
)

#: An exponent that a profile can hold exactly.
GAMMA = 2.25
DISPLAY_P3 = matrix_profile(DISPLAY_P3_TO_XYZ, GAMMA)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
IMAGE = noise(16, 16)
EXPECTED_SRGB = srgb_of_xyz((IMAGE / 255) ** GAMMA @ DISPLAY_P3_TO_XYZ.T)


def decode(image: Image.Image, file_format: str, **options: object) -> npt.NDArray[np.float64]:
    return decode_image(encode(image, file_format, **options), Limits()).astype(np.float64)


@pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_wide_gamut_colours_become_srgb(file_format: str, options: dict[str, object]) -> None:
    converted = decode(Image.fromarray(IMAGE), file_format, icc_profile=DISPLAY_P3, **options)

    assert np.abs(converted - EXPECTED_SRGB).max() <= 1.5


def test_a_jpegs_profile_in_several_segments_is_joined() -> None:
    padded = DISPLAY_P3 + bytes(150_000)
    colour = Image.new("RGB", (16, 16), (250, 60, 40))

    converted = decode(colour, "JPEG", icc_profile=padded)

    np.testing.assert_array_equal(converted, decode(colour, "JPEG", icc_profile=DISPLAY_P3))
    assert np.abs(converted - decode(colour, "JPEG")).max() > 3


def test_alpha_is_laid_over_white_after_the_conversion() -> None:
    alpha = noise(16, 16)[..., :1]
    converted = decode(Image.fromarray(np.concatenate([IMAGE, alpha], -1)), "PNG", icc_profile=DISPLAY_P3)

    assert np.abs(converted - (EXPECTED_SRGB * (alpha / 255) + 255 - alpha)).max() <= 2


def test_a_palette_is_converted() -> None:
    colours, indices = IMAGE.reshape(-1, 3), np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = Image.fromarray(indices)
    picture.putpalette(colours.tobytes())

    assert np.abs(decode(picture, "PNG", icc_profile=DISPLAY_P3) - EXPECTED_SRGB).max() <= 1.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_profile(dtype: type[np.generic]) -> None:
    values = np.arange(16, 256)
    picture = Image.fromarray((values[None] * (257 if dtype is np.uint16 else 1)).astype(dtype))

    expected = srgb_of_xyz(((values / 255) ** GAMMA)[:, None] * D50)
    assert np.abs(decode(picture, "PNG", icc_profile=grey_profile(GAMMA))[0] - expected).max() <= 1.5


@pytest.mark.parametrize("file_format", ["TIFF", "JPEG"])
def test_a_cmyk_profile(file_format: str) -> None:
    corners = list(product((0, 1), repeat=4))
    lab = np.random.default_rng(0).uniform((40, -10, -10), (80, 10, 10), (16, 3))
    lab[0], lab[-1] = (100, 0, 0), (0, 0, 0)  # Paper and all inks, which the perceptual intent maps to white and black.
    profile = cmyk_profile(dict(zip(corners, lab, strict=True)))
    blocks = np.repeat(np.repeat(np.array([corners], np.uint8) * 255, 8, 0), 8, 1)
    picture = Image.frombytes("CMYK", (128, 8), blocks.tobytes())

    converted = decode(picture, file_format, icc_profile=profile, **({"quality": 100} if file_format == "JPEG" else {}))

    assert np.abs(converted[4, 4::8] - srgb_of_xyz(xyz_of_lab(lab))).max() <= 3


@pytest.mark.parametrize("options", [{}, {"icc_profile": LAB}])
def test_lab_with_and_without_its_profile(options: dict[str, object]) -> None:
    samples = np.array([[[100, 128, 128], [128, 110, 128], [128, 128, 150], [200, 120, 120]]], np.uint8)
    picture = Image.merge("LAB", [Image.fromarray(samples[..., band].copy()) for band in range(3)])

    expected = srgb_of_xyz(xyz_of_lab(samples / (2.55, 1, 1) - (0, 128, 128)))
    assert np.abs(decode(picture, "TIFF", **options) - expected).max() <= 1.5


def test_an_srgb_profile_needs_no_transform() -> None:
    assert srgb_transform(SRGB, "RGB") is None


def test_srgb_primaries_with_another_curve_need_a_transform() -> None:
    assert srgb_transform(matrix_profile(SRGB_TO_XYZ, 1.75), "RGB") is not None


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(b"no profile", id="text"),
        pytest.param(DISPLAY_P3[:200], id="truncated"),
        pytest.param(bytes(len(DISPLAY_P3)), id="zeros"),
        pytest.param(grey_profile(GAMMA), id="grey"),
        pytest.param(LAB, id="L*a*b*"),
        pytest.param(DISPLAY_P3 + bytes(4_000_000), id="huge"),
    ],
)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_an_unusable_profile_is_ignored_and_logged(caplog: pytest.LogCaptureFixture, profile: bytes, file_format: str) -> None:
    srgb_transform.cache_clear()
    caplog.set_level(logging.INFO)

    np.testing.assert_array_equal(decode(Image.fromarray(IMAGE), file_format, icc_profile=profile), IMAGE)
    assert "ICC profile" in caplog.text
    assert "ignored" in caplog.text


@pytest.mark.parametrize("chunk", [b"", b"name", b"name\0", b"name\0\1abc", b"name\0\0not packed"])
def test_a_broken_png_profile_is_ignored(chunk: bytes) -> None:
    np.testing.assert_array_equal(decode_image(png(IMAGE, 2, chunks={b"iCCP": chunk}), Limits()), IMAGE)


def test_a_png_profile_with_a_wrong_checksum_is_ignored() -> None:
    plain = png(IMAGE, 2)
    broken = plain[:33] + png_chunk(b"iCCP", b"name\0\0")[:-1] + b"x" + plain[33:]

    np.testing.assert_array_equal(decode_image(broken, Limits()), IMAGE)


def test_a_transform_is_built_once_for_each_profile() -> None:
    assert srgb_transform(bytes(bytearray(DISPLAY_P3)), "RGB") is srgb_transform(bytes(bytearray(DISPLAY_P3)), "RGB")

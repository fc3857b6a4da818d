import functools
import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from handler.errors import ImageTooLarge, InvalidImage, SegmentationError, UnsupportedImageFormat, capture
from handler.image.decode import decode_image, open_image
from handler.image.process import prepare_process
from handler.limits import Limits
from tests.support import AS_STORED, ENCODED_FORMATS, encode, noise
from tests.unit.handler.image.image_files import tiff

LIMITS = Limits(max_pixels=1_000_000)
RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_decode_exactly(file_format: str) -> None:
    image = noise(5, 7)

    np.testing.assert_array_equal(decode_image(encode(image, file_format), LIMITS), image)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "GIF", "MPO"])
def test_lossy_formats_keep_the_size_and_nearly_the_colour(file_format: str) -> None:
    decoded = decode_image(encode(Image.new("RGB", (30, 20), (200, 30, 60)), file_format), LIMITS)

    assert decoded.shape == (20, 30, 3)
    assert np.abs(decoded.astype(int) - (200, 30, 60)).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
        ("MPO", {"quality": 100, "subsampling": 0}),
    ],
)
def test_exif_orientation_is_applied_once(file_format: str, options: dict[str, object], orientation: int) -> None:
    upright = Image.new("RGB", (24, 16), GREEN)
    upright.paste(RED, (0, 0, 8, 8))
    sensor = upright.transpose(AS_STORED[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation

    decoded = decode_image(encode(sensor, file_format, exif=exif, **options), LIMITS)

    assert decoded.shape == (16, 24, 3)
    assert np.abs(decoded.astype(int) - np.asarray(upright)).max() <= (2 if file_format in ("JPEG", "MPO") else 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0)).convert(mode)

    decoded = decode_image(encode(picture, "TIFF" if mode == "PA" else "PNG"), LIMITS)

    assert decoded.tolist() == [[[255, 255, 255]] * 2]


def test_a_transparent_palette_colour_is_laid_over_white() -> None:
    picture = Image.new("P", (1, 1), 1)
    picture.putpalette([0, 0, 0, *RED])

    assert decode_image(encode(picture, "PNG", transparency=1), LIMITS).tolist() == [[[255, 255, 255]]]


def test_16_bit_grey_is_scaled_to_8_bits() -> None:
    picture = Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16))

    assert decode_image(encode(picture), LIMITS)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        (np.int32, [-5, 0, 257, 32896, 65535, 70000]),
        (np.float32, [-0.5, 0, 1 / 255, 128 / 255, 1, 3e38]),
        (np.float32, [np.nan, -np.inf, 1 / 255, 128 / 255, np.inf, 1]),
    ],
)
def test_32_bit_grey_is_scaled_to_8_bits_and_clipped(mode: type[np.generic], values: list[float]) -> None:
    picture = Image.fromarray(np.array([values], mode))

    assert decode_image(encode(picture, "TIFF"), LIMITS)[0, :, 0].tolist() == [0, 0, 1, 128, 255, 255]


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.95])
@pytest.mark.parametrize(
    ("file_format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {})],
)
def test_a_truncated_file_is_refused(file_format: str, options: dict[str, object], fraction: float) -> None:
    data = encode(noise(64, 64), file_format, **options)

    with pytest.raises(InvalidImage):
        decode_image(data[: int(len(data) * fraction)], LIMITS)


@pytest.mark.parametrize("data", [b"hello, I am text", bytes(1000), b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_data_that_is_not_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        decode_image(data, LIMITS)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageTooLarge, match=r"60000×60000 = 3,600,000,000 pixels, the limit is 1,000,000"):
        decode_image(bomb(60_000, 60_000), LIMITS)


def test_an_image_at_the_pixel_limit_is_accepted() -> None:
    data = encode(Image.new("L", (1000, 1000)))

    assert decode_image(data, LIMITS).shape == (1000, 1000, 3)
    with pytest.raises(ImageTooLarge):
        decode_image(data, Limits(max_pixels=999_999))


@pytest.mark.parametrize("size", [(65_501, 1), (1, 65_501)])
def test_a_side_above_the_limit_is_refused_with_both_numbers(size: tuple[int, int]) -> None:
    """One row of such an image would take more memory than a strip of rows may."""
    with pytest.raises(ImageTooLarge, match=rf"{size[0]}×{size[1]}.*65,500"):
        decode_image(encode(Image.new("1", size)), LIMITS)


def test_tiles_above_the_pixel_limit_are_refused_even_in_a_small_image() -> None:
    """Tiles are decoded whole, so a file of a few hundred bytes could claim much memory."""
    file = io.BytesIO()
    tifffile.imwrite(file, noise(36, 48), tile=(16, 16), compression="zlib")
    tile = struct.pack("<HHII", 322, 4, 1, 16)
    assert tile in file.getvalue()

    with pytest.raises(ImageTooLarge, match=r"tiles.*65520×16 = 1,048,320.*1,000,000"):
        decode_image(file.getvalue().replace(tile, struct.pack("<HHII", 322, 4, 1, 65_520)), LIMITS)


def test_more_bytes_than_the_limit_are_refused_with_both_numbers() -> None:
    with pytest.raises(ImageTooLarge, match=r"101 bytes.*100"):
        decode_image(bytes(101), Limits(max_bytes=100))


@pytest.mark.parametrize("file_format", ["ICO", "PPM", "DDS"])
def test_other_image_formats_are_refused_by_name(file_format: str) -> None:
    with pytest.raises(UnsupportedImageFormat, match=rf"^{file_format} images are not accepted; JPEG, .* are$"):
        decode_image(encode(Image.new("RGB", (16, 16)), file_format), LIMITS)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
def test_the_smallest_and_thinnest_images_are_accepted(size: tuple[int, int]) -> None:
    assert decode_image(encode(Image.new("RGB", size)), LIMITS).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("file_format", ENCODED_FORMATS)
def test_a_header_alone_is_refused_with_the_formats_name(file_format: str) -> None:
    with pytest.raises(InvalidImage, match=rf"{file_format}|cannot be decoded|truncated"):
        decode_image(encode(noise(64, 64), file_format)[:30], LIMITS)


@pytest.mark.parametrize("file_format", [*ENCODED_FORMATS, "MPO"])
@given(edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=8), fraction=st.floats(0.01, 1))
def test_a_damaged_file_decodes_or_raises_a_documented_error(
    file_format: str, edits: list[tuple[float, bytes]], fraction: float
) -> None:
    data = bytearray(sample_file(file_format))
    for position, replacement in edits:
        offset = int(position * (len(data) - 1))
        data[offset : offset + len(replacement)] = replacement

    outcome = capture(decode_image, bytes(data[: int(len(data) * fraction) + 1]), LIMITS)

    assert isinstance(outcome, (np.ndarray, InvalidImage, ImageTooLarge, UnsupportedImageFormat))


def test_warnings_turned_into_errors_change_nothing() -> None:
    """As under `python -W error`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare_process()
        decoded = decode_image(image_with_pillow_warning(), LIMITS)

    assert decoded.tolist() == [[list(RED)] * 2]


def test_threads_decode_concurrently() -> None:
    files = [image_with_pillow_warning(), *(sample_file(file_format) for file_format in ENCODED_FORMATS)] * 8
    sequential, filters = [decode_image(file, LIMITS) for file in files], list(warnings.filters)

    with ThreadPoolExecutor(8) as pool:
        concurrent = list(pool.map(lambda file: decode_image(file, LIMITS), files))

    assert all(np.array_equal(*pair) for pair in zip(concurrent, sequential, strict=True))
    assert warnings.filters == filters


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "group4"])
def test_decoders_write_nothing_to_the_servers_output(capfd: pytest.CaptureFixture[str], compression: str) -> None:
    picture = Image.fromarray(noise(64, 64)).convert("1" if compression == "group4" else "RGB")
    data = bytearray(encode(picture, "TIFF", compression=compression))
    data[100:200] = noise(10, 10).tobytes()[:100]

    prepare_process()
    capture(decode_image, bytes(data), LIMITS)

    assert capfd.readouterr() == ("", "")


def test_decoding_leaves_no_open_or_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = psutil.Process().num_fds()

    for file_format in ENCODED_FORMATS:
        open_image(sample_file(file_format), LIMITS)
        decode_image(sample_file(file_format), LIMITS)
        capture(decode_image, sample_file(file_format)[:100], LIMITS)

    assert psutil.Process().num_fds() == before
    assert list(tmp_path.iterdir()) == []


def test_errors_reveal_nothing_about_the_server() -> None:
    with pytest.raises(SegmentationError) as error:
        decode_image(b"no image", LIMITS)

    assert "0x" not in str(error.value)
    assert "BytesIO" not in str(error.value)


def image_with_pillow_warning() -> bytes:
    """Return a red image with a tag that has two values although Pillow expects one."""
    return tiff(np.array([[RED, RED]], np.uint8), 2, tags={266: [1, 1]})


@functools.cache
def sample_file(file_format: str) -> bytes:
    """Return a small file with all metadata, and several frames if the format can hold them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    frames = [Image.fromarray(noise(12, 8)), Image.fromarray(noise(8, 12)).resize((8, 12))]
    options = {} if file_format in ("GIF", "BMP", "JPEG2000") else {"exif": exif, "icc_profile": profile}
    animation = (
        {"save_all": True, "append_images": frames[1:]}
        if file_format not in ("JPEG", "BMP", "HEIF", "JPEG2000", "AVIF")
        else {}
    )
    return encode(frames[0], file_format, **options, **animation)


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few hundred bytes that claims to have this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")

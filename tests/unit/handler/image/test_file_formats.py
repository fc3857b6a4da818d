"""Files that contain more than an image: the additional data harms neither the image nor the server."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import tifffile
from PIL import Image

from handler.errors import ImageTooLarge, InvalidImage
from handler.image.decode import decode_image
from handler.image.file_formats import strip_to_first_image
from handler.image.file_formats.tiff import read_orientation
from handler.limits import Limits
from tests.support import encode, noise
from tests.unit.handler.image.image_files import directory, exif, png, png_chunk, tiff

IMAGE = noise(6, 8)
RED, GREEN = (255, 0, 0), (0, 255, 0)
#: An EXIF block of 65,000 tags, each of which claims the same four megabytes.
OVERLAPPING_EXIF = (
    b"II\x2a\0\x08\0\0\0"
    + struct.pack("<H", 65_000)
    + b"".join(struct.pack("<HHII", tag, 7, 4_000_000, 0) for tag in range(1, 65_001))
    + bytes(4_000_000)
)


def exif_with_thumbnail() -> bytes:
    """Build an EXIF block followed by a small JPEG, as cameras do."""
    return b"Exif\0\0" + exif(1) + encode(Image.new("RGB", (16, 12), RED), "JPEG")


@contextmanager
def python_memory_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def png_with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """Encode `IMAGE` as a PNG with additional chunks before its samples."""
    file = png(IMAGE, 2)
    return file[:33] + b"".join(png_chunk(kind, data) for kind, data in chunks) + file[33:]


def jpeg_with_segments(*segments: tuple[int, bytes]) -> bytes:
    """Encode `IMAGE` as a JPEG with additional segments before the usual ones."""
    file = encode(IMAGE, "JPEG", quality=95)
    return file[:2] + b"".join(struct.pack(">BBH", 255, kind, len(data) + 2) + data for kind, data in segments) + file[2:]


@cache
def compressed_zeros() -> bytes:
    """Compress a hundred megabytes to a tenth of a megabyte."""
    return b"a\0\0" + zlib.compress(bytes(100_000_000), level=1)


@pytest.mark.parametrize("kind", [pytest.param(b"zTXt", id="text"), pytest.param(b"iCCP", id="profile")])
def test_compressed_png_metadata_is_not_decompressed(kind: bytes) -> None:
    data = png_with_chunks((kind, compressed_zeros()))

    with python_memory_below(50_000_000):
        np.testing.assert_array_equal(decode_image(data, Limits()), IMAGE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param((b"eXIf", OVERLAPPING_EXIF), id="EXIF"),
        pytest.param((b"zTXt", b"a\0\7"), id="text with unknown compression"),
        pytest.param((b"tEXt", b"transparency\0yes"), id="text with one of Pillow's keys"),
        pytest.param((b"pHYs", b""), id="empty resolution"),
        pytest.param((b"fcTL", b""), id="empty frame"),
    ],
)
def test_png_metadata_does_not_affect_decoding(chunk: tuple[bytes, bytes]) -> None:
    data = png_with_chunks(chunk)

    with python_memory_below(50_000_000):
        np.testing.assert_array_equal(decode_image(data, Limits()), IMAGE)


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param(
            [(0xE1, b"Exif\0\0" + OVERLAPPING_EXIF[start : start + 65_000]) for start in range(0, 4_700_000, 65_000)],
            id="EXIF in many segments",
        ),
        pytest.param([(0xE1, b"Exif\0\0")], id="empty EXIF"),
        pytest.param([(0xE0, b"JFIF")], id="short JFIF"),
        pytest.param([(0xEE, b"Adobe")], id="short Adobe"),
        pytest.param([(0xED, b"Photoshop 3.0\x008BIM")], id="short Photoshop"),
        pytest.param([(0xE2, b"MPF\0II\x2a\0\xff\xff\xff\xff")], id="images beyond the end"),
        pytest.param([(0xE2, b"ICC_PROFILE\0")], id="empty profile"),
        pytest.param([(0xE2, b"ICC_PROFILE\0\1\2abc")], id="half a profile"),
        pytest.param([(0xFE, b"")] * 1000, id="comments"),
    ],
)
def test_jpeg_metadata_does_not_affect_decoding(segments: list[tuple[int, bytes]]) -> None:
    data = jpeg_with_segments(*segments)

    with python_memory_below(50_000_000):
        np.testing.assert_array_equal(decode_image(data, Limits()), decode_image(jpeg_with_segments(), Limits()))


@pytest.mark.slow
def test_webp_metadata_does_not_affect_decoding() -> None:
    data = encode(IMAGE, "WEBP", lossless=True, exif=OVERLAPPING_EXIF)

    with python_memory_below(50_000_000):
        np.testing.assert_array_equal(decode_image(data, Limits()), IMAGE)


@pytest.mark.parametrize("tag", [330, 34665, 34853, 40965, 700, 34377])
def test_tiff_metadata_does_not_affect_decoding(tag: int) -> None:
    np.testing.assert_array_equal(decode_image(tiff(IMAGE, 2, tags={tag: [2**32 - 1]}), Limits()), IMAGE)


def test_a_tiff_whose_tags_claim_more_than_the_file_is_refused() -> None:
    with pytest.raises(InvalidImage, match=r"2,000,000 values.*256"):
        decode_image(b"II\x2a\0\x08\0\0\0\1\0" + struct.pack("<HHII", 256, 7, 2_000_000, 0) + bytes(1000), Limits())


def test_a_tiff_with_more_strips_than_rows_is_refused() -> None:
    with pytest.raises(InvalidImage, match=r"400,000 values.*273"):
        decode_image(b"II\x2a\0\x08\0\0\0\1\0" + struct.pack("<HHII", 273, 3, 400_000, 0) + bytes(900_000), Limits())


@pytest.mark.parametrize("offset", [0, 4, 2**32 - 1])
def test_a_tiff_whose_directory_lies_outside_the_file_is_refused(offset: int) -> None:
    with pytest.raises(InvalidImage, match="0 readable tags"):
        decode_image(b"II\x2a\0" + struct.pack("<I", offset) + bytes(100), Limits())


def test_a_bigtiff_in_big_endian_order_is_read() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, IMAGE, photometric="rgb", byteorder=">", bigtiff=True)

    np.testing.assert_array_equal(decode_image(file.getvalue(), Limits()), IMAGE)


def test_a_bigtiff_is_read() -> None:
    np.testing.assert_array_equal(decode_image(encode(IMAGE, "TIFF", big_tiff=True), Limits()), IMAGE)


@pytest.mark.parametrize("disposal", range(4))
def test_an_animated_png_allocates_no_canvas_before_its_size_is_checked(disposal: int) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0))
    frame = png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 0, 0, 1, 1, disposal, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"acTL", bytes(8)) + frame + png_chunk(b"IDAT", b"")

    with pytest.raises(ImageTooLarge, match=r"60000×60000"):
        decode_image(data, Limits())


@pytest.mark.parametrize("disposal", range(4))
def test_a_gif_frame_beyond_its_screen_is_refused_before_it_is_allocated(disposal: int) -> None:
    screen = b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0x80, 0, 0) + bytes(6)
    control = bytes([0x21, 0xF9, 4, disposal << 2, 0, 0, 0, 0])
    frame = b"," + struct.pack("<HHHHB", 10, 10, 60_000, 60_000, 0) + b"\2\2\x44\1\0;"

    with pytest.raises(ImageTooLarge, match="60010×60010"):
        decode_image(screen + control + frame, Limits())


def test_the_comments_of_a_gif_are_stripped() -> None:
    file = encode(Image.new("P", (4, 4)), "GIF")
    screen = 13 + (3 << (file[10] & 7) + 1 if file[10] & 0x80 else 0)
    comment = b"!\xfe" + (b"\xff" + bytes(255)) * 100_000 + b"\0"

    assert len(strip_to_first_image(file[:screen] + comment + file[screen:]).data) == len(file)


def test_a_jpeg_with_too_many_scans_is_refused() -> None:
    file = encode(IMAGE, "JPEG", progressive=True)
    scan = file[file.rfind(b"\xff\xda") : -2]

    with pytest.raises(InvalidImage, match="the JPEG has more than 100 scans"):
        decode_image(file[:-2] + scan * 101 + file[-2:], Limits())


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(np.random.default_rng(0).bytes(9_000_000), id="9 MB of video"),
        pytest.param(b"\xff\xda\0\x08\1\1\0\0\x3f\0" * 1000, id="starts of scans"),
        pytest.param(b"\xff\xfe\0\2" * 20_000, id="segments"),
        pytest.param(encode(Image.new("RGB", (50, 40)), "JPEG"), id="another image"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"exif": exif_with_thumbnail()}])
def test_data_after_the_end_of_a_jpeg_is_ignored(options: dict[str, object], tail: bytes) -> None:
    """Motion photos end in a video full of bytes that look like markers."""
    image = encode(noise(64, 48), "JPEG", **options)

    assert strip_to_first_image(image + tail) == strip_to_first_image(image)
    np.testing.assert_array_equal(decode_image(image + tail, Limits()), decode_image(image, Limits()))


@pytest.mark.parametrize(
    "marker",
    [
        pytest.param(b"\xff\xdc\0\4\xff\xd9", id="number of lines that looks like an end"),
        pytest.param(b"\xff\xfe\0\6\xff\xd9\xff\xda", id="comment that holds an end and a scan"),
        pytest.param(b"\xff\x01", id="marker without a segment"),
        pytest.param(b"\xff\xff\xff", id="fill bytes"),
    ],
)
def test_a_jpeg_does_not_end_within_a_segment(marker: bytes) -> None:
    image = encode(IMAGE, "JPEG", progressive=True)
    last_scan = image.rfind(b"\xff\xda")
    file = image[:last_scan] + marker + image[last_scan:]

    assert strip_to_first_image(file + bytes(10)).data.endswith(file[last_scan:])


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_without_an_end_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidImage, match="truncated"):
        decode_image(encode(noise(64, 64), "JPEG", **options)[:-2], Limits())


def test_too_many_segments_between_the_scans_of_a_jpeg_are_refused() -> None:
    file = encode(IMAGE, "JPEG", progressive=True)
    last_scan = file.rfind(b"\xff\xda")

    with pytest.raises(InvalidImage, match="10,000 segments"):
        decode_image(file[:last_scan] + b"\xff\xfe\0\2" * 10_001 + file[last_scan:], Limits())


def test_a_jpeg_with_too_many_segments_is_refused() -> None:
    with pytest.raises(InvalidImage, match="10,000 segments"):
        decode_image(jpeg_with_segments(*[(0xFE, b"")] * 10_001), Limits())


def test_a_large_run_length_encoded_bmp_is_refused() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 3000, 3000, 1, 8, 1, 0, 1, 1, 256, 0)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(range(256)) * 4 + b"\0\1"

    with pytest.raises(ImageTooLarge, match=r"BMP.*9,000,000.*5,000,000"):
        decode_image(data, Limits())


@pytest.mark.parametrize(
    ("file_format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("MPO", {"quality": 95}), ("TIFF", {})]
)
def test_the_first_of_several_images_is_decoded(file_format: str, options: dict[str, object]) -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN))

    decoded = decode_image(encode(first, file_format, save_all=True, append_images=[second], **options), Limits())

    assert decoded.shape == (16, 16, 3)
    assert np.abs(decoded.astype(int) - RED).max() <= 3


def test_the_default_image_of_an_animated_png_is_decoded() -> None:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN))

    data = encode(first, "PNG", save_all=True, default_image=True, append_images=[second, first])

    assert decode_image(data, Limits())[0, 0].tolist() == list(RED)


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_an_orientation_out_of_range_is_upright(value: int) -> None:
    assert read_orientation(exif(value)) == 1


@pytest.mark.parametrize(
    "block",
    [b"", b"Exif\0\0", b"II\x2a\0", exif(6)[:15], exif(6)[:21], b"II\x2a\0\xff\xff\xff\xff" + bytes(20), b"noise" * 20],
)
def test_a_broken_exif_block_is_upright(block: bytes) -> None:
    assert read_orientation(block) == 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_exif_is_read_in_both_byte_orders(order: str, prefix: bytes) -> None:
    head = b"II\x2a\0\x08\0\0\0" if order == "<" else b"MM\0\x2a\0\0\0\x08"

    assert read_orientation(prefix + head + directory({274: [6], 305: b"some software"}, 8, order)) == 6

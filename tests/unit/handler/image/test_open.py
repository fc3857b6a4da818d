"""What is known about an image file before it is decoded, and which errors are the client's."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from PIL.ImageFile import ImageFile

from handler.errors import ImageTooLarge, InvalidImage
from handler.image import colour, decode
from handler.image.decode import open_image
from handler.limits import Limits
from tests.support import ENCODED_FORMATS, encode, noise
from tests.unit.handler.image.image_files import tiff

LIMITS = Limits()
IMAGE = noise(6, 8)
#: Pillow refuses images with more than twice this many pixels.
HOST_LIMIT = 1 << 18


def unreachable(*_: object) -> None:
    raise AssertionError("a pixel was decoded")


@pytest.mark.parametrize("file_format", ENCODED_FORMATS)
def test_the_size_is_known_and_checked_before_any_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch, file_format: str) -> None:
    data = encode(IMAGE, file_format)
    for reader in (ImageFile, TiffImagePlugin.TiffImageFile):
        monkeypatch.setattr(reader, "load", unreachable)

    assert open_image(data, LIMITS).size == (6, 8)
    with pytest.raises(ImageTooLarge, match="8×6 = 48 pixels"):
        open_image(data, Limits(max_pixels=47))


def test_the_size_follows_the_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    assert open_image(encode(IMAGE, "JPEG", exif=exif), LIMITS).size == (8, 6)


def test_a_truncated_file_opens_and_does_not_decode() -> None:
    data = encode(noise(64, 64), "JPEG")

    image = open_image(data[: len(data) // 2], LIMITS)

    with pytest.raises(InvalidImage, match="truncated"):
        image.decode()


@pytest.mark.parametrize("file_format", ENCODED_FORMATS)
def test_a_file_cut_anywhere_in_its_header_is_refused(file_format: str) -> None:
    data = encode(IMAGE, file_format)

    for length in range(64):
        with pytest.raises(InvalidImage):
            open_image(data[:length], LIMITS).decode()


def test_an_image_is_decoded_once() -> None:
    image = open_image(encode(IMAGE), LIMITS)
    image.decode()

    with pytest.raises(ValueError, match="already"):
        image.decode()


@pytest.mark.parametrize("error", [ZeroDivisionError, TypeError, KeyError, OSError])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (decode, "strip_to_first_image"),
        (decode, "read_orientation"),
        (decode, "_check_size"),
        (decode, "_reduce_jpeg"),
        (decode, "write_rgb"),
        (colour, "srgb_transform"),
    ],
)
def test_our_own_errors_are_not_blamed_on_the_file(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error("bug")

    monkeypatch.setattr(module, name, fail)

    with pytest.raises(error, match="bug"):
        open_image(encode(IMAGE, "JPEG", icc_profile=b"any"), LIMITS).decode((1, 1))


@pytest.mark.parametrize("error", [ZeroDivisionError, TypeError, OSError, SyntaxError])
@pytest.mark.parametrize("step", ["__init__", "load"])
def test_decoder_errors_are_blamed_on_the_file(monkeypatch: pytest.MonkeyPatch, step: str, error: type[Exception]) -> None:
    def fail(*_: object) -> None:
        raise error("from the decoder")

    data = encode(IMAGE)
    monkeypatch.setattr(ImageFile, step, fail)

    with pytest.raises(InvalidImage, match="cannot be decoded"):
        open_image(data, LIMITS).decode()


@pytest.mark.parametrize("file_format", ENCODED_FORMATS)
def test_the_hosts_pixel_limit_is_neither_applied_nor_changed(monkeypatch: pytest.MonkeyPatch, file_format: str) -> None:
    data = encode(Image.new("RGB", (1000, 600)), file_format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HOST_LIMIT)

    assert open_image(data, LIMITS).decode().size == (600, 1000)
    assert Image.MAX_IMAGE_PIXELS == HOST_LIMIT


def test_a_gif_frame_beyond_its_screen_ignores_the_hosts_pixel_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(encode(Image.new("P", (1000, 600)), "GIF"))
    data[6:10] = b"\x08\0\x08\0"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HOST_LIMIT)

    assert open_image(bytes(data), LIMITS).decode().size == (600, 1000)


@pytest.mark.parametrize("switch", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_hosts_libtiff_switch_is_ignored(monkeypatch: pytest.MonkeyPatch, switch: bool, order: Literal["<", ">"]) -> None:
    samples = np.random.default_rng(0).integers(0, 1 << 16, (7, 9, 3)).astype(np.uint16)
    monkeypatch.setattr(TiffImagePlugin, "READ_LIBTIFF", switch)

    pixels = open_image(tiff(samples, 2, order=order, planes=True), LIMITS).decode().pixels

    assert np.abs(pixels - samples / 257).max() <= 1


@pytest.mark.parametrize("read", [open_image, lambda data, limits: open_image(data, limits).decode()], ids=["open", "decode"])
@pytest.mark.parametrize("value", [b"ab", b"\0\0\0\0\0\0\0\0"])
def test_tiles_of_zero_size_are_refused(read: Callable[[bytes, Limits], object], value: bytes) -> None:
    with pytest.raises(InvalidImage, match="tiles"):
        read(tiff(IMAGE, 2, tags={322: value}), LIMITS)

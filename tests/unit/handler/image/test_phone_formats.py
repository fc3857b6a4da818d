"""HEIC, AVIF and JPEG 2000: colours, orientation, limits, and the reasons in error messages."""

import importlib.util
import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, features
from skimage import data

from handler.errors import ImageTooLarge, InvalidImage, UnsupportedImageFormat
from handler.image.decode import decode_image, open_image
from handler.image.file_formats import format_name
from handler.image.file_formats.jpeg2000 import read_codestream
from handler.limits import Limits
from tests.support import ROOT, encode, noise
from tests.unit.handler.image.image_files import exif

HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
needs_heif = pytest.mark.skipif(not HAS_HEIF, reason="pillow-heif is not installed")
FORMATS = [pytest.param("HEIF", marks=needs_heif), "AVIF", "JPEG2000"]
CAT = Image.fromarray(data.chelsea()).resize((120, 80))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_decoded_pixels_match_the_original(file_format: str, mode: str) -> None:
    picture = CAT.convert(mode)
    expected = np.asarray(picture.convert("RGB"), float)
    if mode == "RGBA":
        picture.putalpha(100)
        expected = expected * 100 / 255 + 155

    decoded = decode_image(encode(picture, file_format, **({} if file_format == "JPEG2000" else {"quality": 95})), Limits())

    assert decoded.shape == (80, 120, 3)
    assert np.abs(decoded - expected).mean() < 3


@needs_heif
@pytest.mark.parametrize("options", [{"tile_size": 64}, {"chroma": 444}])
def test_heic_with_tiles_or_full_chroma_decodes(options: dict[str, int]) -> None:
    file = encode(CAT, "HEIF", quality=95, **options)

    assert np.abs(decode_image(file, Limits()) - np.asarray(CAT, float)).mean() < 3


@needs_heif
def test_10_bit_heic_is_scaled_to_8_bits() -> None:
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", CAT.size, (np.asarray(CAT).astype(np.uint16) * 257).tobytes()).save(file, quality=95)

    assert np.abs(decode_image(file.getvalue(), Limits()) - np.asarray(CAT, float)).mean() < 3


def test_the_first_frame_of_an_avif_sequence_is_decoded() -> None:
    file = encode(CAT, "AVIF", save_all=True, append_images=[CAT.transpose(Image.Transpose.ROTATE_180)], quality=95)

    assert np.abs(decode_image(file, Limits()) - np.asarray(CAT, float)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation: int) -> None:
    """AVIF stores the orientation in its boxes, and often in EXIF too."""
    file = encode(CAT, "AVIF", exif=exif(orientation), quality=95)
    png = encode(CAT, "PNG", exif=exif(orientation))

    decoded, expected = decode_image(file, Limits()), decode_image(png, Limits())

    assert decoded.shape == expected.shape
    assert np.abs(decoded - expected.astype(float)).mean() < 3


@needs_heif
def test_a_heic_with_upright_exif_is_not_rotated() -> None:
    assert decode_image(encode(CAT, "HEIF", exif=exif(1), quality=95), Limits()).shape == (80, 120, 3)


@pytest.mark.parametrize("file_format", FORMATS)
def test_sizes_are_checked_before_decoding(file_format: str) -> None:
    file = encode(CAT, file_format)

    with pytest.raises(ImageTooLarge, match="120×80 = 9,600 pixels, the limit is 9,599"):
        open_image(file, Limits(max_pixels=9_599))
    assert open_image(file, Limits(max_pixels=9_600)).size == (80, 120)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("fraction", [0.5, 0.8, 0.99])
def test_a_truncated_file_is_refused(file_format: str, fraction: float) -> None:
    for options in ({}, {"tile_size": 64} if file_format == "HEIF" else {}):
        file = encode(Image.fromarray(noise(128, 128)), file_format, **options)
        with pytest.raises(InvalidImage, match=r"truncated|broken data stream"):
            decode_image(file[: int(len(file) * fraction)], Limits())


def test_a_jpeg_2000_whose_boxes_and_codestream_disagree_on_the_size_is_refused() -> None:
    file = bytearray(encode(CAT, "JPEG2000"))
    offset = file.index(b"\xff\x4f\xff\x51")
    struct.pack_into(">2I", file, offset + 8, 40_000, 40_000)
    struct.pack_into(">2I", file, offset + 24, 40_000, 40_000)

    with pytest.raises(InvalidImage, match="two sizes, 120×80 and 40000×40000"):
        open_image(bytes(file), Limits())


def test_a_jpeg_2000_with_13_bands_is_refused() -> None:
    file = bytearray(encode(CAT, "JPEG2000"))
    offset = file.index(b"\xff\x4f\xff\x51")
    struct.pack_into(">H", file, offset + 40, 13)

    assert read_codestream(bytes(file)) is not None
    with pytest.raises(InvalidImage, match="has 13 components; the most is 4"):
        open_image(bytes(file), Limits())


def test_16_bit_jpeg_2000_keeps_its_values() -> None:
    samples = np.random.default_rng(0).integers(0, 1 << 16, (20, 30)).astype(np.uint16)

    assert np.abs(decode_image(encode(Image.fromarray(samples), "JPEG2000"), Limits())[..., 0] - samples / 257).max() < 1


@pytest.mark.parametrize("brand", [b"isom", b"mp42", b"qt  "])
def test_a_video_is_not_an_image(brand: bytes) -> None:
    with pytest.raises(UnsupportedImageFormat, match="video files are not accepted"):
        decode_image(struct.pack(">I", 24) + b"ftyp" + brand + bytes(500), Limits())


@pytest.mark.parametrize(
    ("brands", "name"),
    [((b"heic", b"mif1"), "HEIF"), ((b"mif1", b"avif"), "AVIF"), ((b"mif1", b"heic"), "HEIF"), ((b"avis",), "AVIF")],
)
def test_brands_distinguish_heic_from_avif(brands: tuple[bytes, ...], name: str) -> None:
    box = b"ftyp" + brands[0] + bytes(4) + b"".join(brands)

    assert format_name(struct.pack(">I", 4 + len(box)) + box) == name


@pytest.mark.parametrize(("file_format", "feature"), [("AVIF", "avif"), ("JPEG2000", "jpg_2000"), ("WEBP", "webp")])
def test_formats_missing_from_the_pillow_build_are_named(
    monkeypatch: pytest.MonkeyPatch, file_format: str, feature: str
) -> None:
    file = encode(CAT, file_format)
    monkeypatch.setattr(features, "check", lambda name: name != feature)

    with pytest.raises(UnsupportedImageFormat, match=f"Pillow was built without {file_format}"):
        open_image(file, Limits())


def test_heic_without_pillow_heif_is_refused_with_the_packages_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)

    with pytest.raises(UnsupportedImageFormat, match="need the package pillow-heif"):
        open_image(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(100), Limits())


@pytest.mark.slow
def test_importing_registers_no_format_in_the_host_process() -> None:
    program = "import handler.image.decode, sys; from PIL import Image; print('HEIF' in Image.ID, 'pillow_heif' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True).split() == ["False", "False"]

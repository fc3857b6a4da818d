"""TIFFs of any number of bands and any type: which bands are shown, and which values become black and white."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio import Affine
from rasterio.io import MemoryFile

from handler.errors import ImageTooLarge, InvalidImage, InvalidOption
from handler.image.decode import convert_image, open_image
from handler.image.file_formats import strip_to_first_image
from handler.image.file_formats.tiff import add_georeference, read_tags
from handler.limits import Limits
from handler.options import ReadingOptions
from tests.support import encode, noise
from tests.unit.handler.image.image_files import tiff

Samples = npt.NDArray[Any]
RGB, GREY, CMYK = 2, 1, 5
SIZE = (23, 37)


def random(bands: int, dtype: str = "uint8", maximum: float = 200) -> Samples:
    """Return random samples, bands×H×W, from 0 to `maximum`."""
    return (np.random.default_rng(bands).random((bands, *SIZE)) * maximum).astype(dtype)


def geotiff(samples: Samples, **options: Any) -> bytes:
    """Write bands×H×W as a GeoTIFF, as GDAL does."""
    bands, height, width = samples.shape
    georeference = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=height, width=width, count=bands, dtype=samples.dtype, **georeference, **options
        ) as file:
            file.write(samples)
        return bytes(memory.read())


def decode(data: bytes, bands: Any = "first", value_range: Any = "type") -> Samples:
    return open_image(data, Limits(), ReadingOptions(bands=bands, range=value_range)).decode().pixels


def scale_to_rgb(samples: Samples, low: float = 0, high: float = 255) -> Samples:
    """Return samples of one or three bands as H×W×3, 0 to 255."""
    scaled = np.clip((np.moveaxis(samples, 0, -1).astype(np.float64) - low) / (high - low), 0, 1) * 255
    return np.broadcast_to(scaled, (*samples.shape[1:], 3))


def assert_shows(data: bytes, expected: Samples, bands: Any = "first", value_range: Any = "type") -> None:
    assert np.abs(decode(data, bands, value_range) - expected).max() <= 0.51


@pytest.mark.parametrize("bands", [3, 5, 8, 13])
def test_the_first_three_bands_are_red_green_and_blue(bands: int) -> None:
    samples = random(bands)

    assert_shows(geotiff(samples), scale_to_rgb(samples[:3]))


def test_the_first_of_two_bands_is_grey() -> None:
    samples = random(2)

    assert_shows(geotiff(samples), scale_to_rgb(samples[:1]))


@pytest.mark.parametrize("bands", [(3, 2, 1), (5, 4, 2), (1, 1, 5), (4,)])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_bands_are_numbered_from_1_in_the_requested_order(bands: tuple[int, ...], interleave: str) -> None:
    samples = random(5)

    assert_shows(geotiff(samples, interleave=interleave), scale_to_rgb(samples[[band - 1 for band in bands]]), bands)


@pytest.mark.parametrize(("bands", "message"), [((6,), "no band 6"), ((1, 2, 999), "no band 999")])
def test_a_band_beyond_the_file_is_refused_with_its_count(bands: tuple[int, ...], message: str) -> None:
    with pytest.raises(InvalidOption, match=rf"^option 'bands': there is {message}; the TIFF has 5 bands of float64$"):
        open_image(geotiff(random(5, "float64")), Limits(), ReadingOptions(bands=bands))


TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"compress": "lzw"},
    {"compress": "deflate"},
    {"compress": "zstd", "tiled": True, "blockxsize": 16, "blockysize": 16},
    {"tiled": True, "blockxsize": 16, "blockysize": 16, "interleave": "band"},
    {"interleave": "band", "compress": "lzw"},
    {"bigtiff": "yes"},
    {"endianness": "big", "compress": "deflate"},
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_type_is_read_in_every_layout(dtype: str, layout: dict[str, Any]) -> None:
    samples = random(4, dtype, 120)

    data = geotiff(samples, photometric="minisblack", **layout)
    assert_shows(data, scale_to_rgb(samples[[3, 1, 0]], 10, 110), (4, 2, 1), (10, 110))


@pytest.mark.parametrize(("dtype", "predictor"), [("uint8", 2), ("uint16", 2), ("int32", 2), ("float32", 3), ("float64", 3)])
@pytest.mark.parametrize("compress", ["lzw", "deflate"])
def test_predictors_are_undone(dtype: str, predictor: int, compress: str) -> None:
    samples = random(5, dtype)

    data = geotiff(samples, compress=compress, predictor=predictor)
    assert_shows(data, scale_to_rgb(samples[:3], 0, 200), value_range=(0, 200))


@pytest.mark.parametrize("bits", [1, 2, 4, 7, 12])
def test_fewer_bits_than_a_byte_or_a_word(bits: int) -> None:
    samples = random(3, "uint16" if bits > 8 else "uint8", 1 << bits)

    assert_shows(geotiff(samples, nbits=bits), scale_to_rgb(samples, 0, (1 << bits) - 1))


@pytest.mark.parametrize(
    ("dtype", "white"),
    [("uint8", 255), ("uint16", 65_535), ("int16", 65_535), ("uint32", 65_535), ("float32", 1), ("float64", 1)],
)
def test_the_default_white_depends_on_the_type(dtype: str, white: int) -> None:
    samples = random(5, dtype, 1.2 if white == 1 else 30_000 if white > 255 else 256)

    assert_shows(geotiff(samples), scale_to_rgb(samples[:3], 0, white))


@given(st.integers(0, 2**32 - 1), st.sampled_from(TYPES), st.floats(-300, 300), st.floats(0.01, 500))
def test_any_range_scales_as_documented(seed: int, dtype: str, low: float, span: float) -> None:
    bounds = np.iinfo(dtype) if np.dtype(dtype).kind in "ui" else np.finfo(dtype)
    numbers = np.random.default_rng(seed).uniform(max(-400, int(bounds.min)), min(400, int(bounds.max)), (3, 4, 5))
    samples = numbers.astype(dtype)

    difference = np.abs(decode(geotiff(samples), value_range=(low, low + span)) - scale_to_rgb(samples, low, low + span))
    # Single precision may round a half the other way.
    assert difference.max() <= 0.51 + 400 / span * 1e-3


def test_auto_uses_the_percentiles_of_the_selected_bands() -> None:
    samples = (random(5, "float64", 1) ** 3 * [[[9_000]], [[5_000]], [[7_000]], [[1]], [[1e6]]]).astype("uint16")
    low, high = np.percentile(samples[[2, 1, 0]], [2, 98])

    expected = scale_to_rgb(samples[[2, 1, 0]], low, low + (high - low) / 0.8)
    assert_shows(geotiff(samples), expected, (3, 2, 1), "auto")


@pytest.mark.parametrize("nodata", [-9999.0, float("nan"), 0.0])
def test_auto_ignores_nodata(nodata: float) -> None:
    samples = random(3, "float32", 0.3) + 0.01
    low, high = np.percentile(samples[:, 4:], [2, 98])
    samples[:, :4] = nodata
    samples[0, 5, 5], samples[1, 5, 5], samples[2, 5, 5] = np.nan, np.inf, -np.inf

    pixels = decode(geotiff(samples, nodata=nodata), value_range="auto")

    expected = scale_to_rgb(np.nan_to_num(samples, nan=0, posinf=9, neginf=-9), low, low + (high - low) / 0.8)
    assert np.abs(pixels - expected).max() <= 1.5
    assert pixels[:4].max() == 0


def test_auto_ignores_transparent_pixels() -> None:
    samples = random(4, "uint16", 3000)
    samples[3] = 65_535
    low, high = np.percentile(samples[:3, 8:], [2, 98])
    samples[:3, :8], samples[3, :8] = 60_000, 0

    pixels = decode(geotiff(samples, photometric="RGB", alpha="yes"), value_range="auto")

    assert pixels[:8].min() == 255
    assert np.abs(pixels[8:] - scale_to_rgb(samples[:3, 8:], low, low + (high - low) / 0.8)).max() <= 2


@pytest.mark.parametrize("value", [0, 7, 255])
def test_auto_accepts_a_constant_image(value: int) -> None:
    assert np.ptp(decode(geotiff(np.full((5, *SIZE), value, np.uint8)), value_range="auto")) == 0


@pytest.mark.slow
def test_images_of_millions_of_pixels_are_sampled_evenly() -> None:
    samples = np.random.default_rng(0).integers(0, 4000, (3, 1500, 1400)).astype("uint16")

    pixels = decode(geotiff(samples), value_range="auto")

    assert np.abs(pixels - scale_to_rgb(samples, *(low := 80, low + 3840 / 0.8))).max() <= 3


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_near_infrared_that_gdal_tags_as_alpha_is_not_transparency(dtype: str) -> None:
    samples = random(4, dtype, 250 if dtype == "uint8" else 60_000)

    for alpha in ("unspecified", "non-premultiplied"):
        pixels = decode(geotiff(samples, photometric="RGB", alpha=alpha))

        # Pillow keeps the upper byte of 16 bits.
        assert np.abs(pixels - scale_to_rgb(samples[:3], 0, np.iinfo(dtype).max)).max() < 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_alpha_band_is_transparency(dtype: str) -> None:
    samples = random(4, dtype)
    samples[3] = np.where(np.arange(SIZE[1]) < 9, 0, np.iinfo(dtype).max)

    pixels = decode(geotiff(samples, photometric="RGB", alpha="yes"))

    assert pixels[:, :9].min() == 255
    assert np.abs(pixels[:, 9:] - scale_to_rgb(samples[:3], 0, np.iinfo(dtype).max)[:, 9:]).max() <= 1


@pytest.mark.parametrize("tags", [{}, {338: [0]}])
def test_a_fourth_band_is_transparency_only_if_tagged_as_alpha(tags: dict[int, Any]) -> None:
    samples = np.moveaxis(random(4), 0, -1)

    assert_shows(tiff(samples, RGB, tags=tags), samples[..., :3])


def test_requested_bands_are_never_transparency() -> None:
    samples = random(4)

    data = tiff(np.moveaxis(samples, 0, -1), RGB, tags={338: [2]})
    assert_shows(data, scale_to_rgb(samples[[3, 0, 1]]), (4, 1, 2))


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("photometric", [RGB, GREY])
def test_requesting_the_default_bands_changes_nothing(planes: bool, photometric: int) -> None:
    data = tiff(np.moveaxis(random(3), 0, -1), photometric, planes=planes)

    np.testing.assert_array_equal(decode(data), decode(data, (1, 2, 3), (0, 255)))


def test_white_is_zero_applies_to_every_range() -> None:
    samples = random(1)[0]

    assert_shows(tiff(samples, 0), 255 - scale_to_rgb(samples[None], 50, 150), value_range=(50, 150))


def test_orientation_is_applied() -> None:
    samples = random(5)

    data = tiff(np.moveaxis(samples, 0, -1), GREY, tags={274: [6], 338: [0] * 4})
    assert_shows(data, np.rot90(scale_to_rgb(samples[:3]), -1))


OTHER_FORMATS = [("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB")]
OTHER_FORMATS += [("TIFF", "P"), ("TIFF", "CMYK"), ("GIF", "P"), ("BMP", "RGB")]


@pytest.mark.parametrize(("file_format", "mode"), OTHER_FORMATS)
def test_other_images_have_the_bands_red_green_and_blue(file_format: str, mode: str) -> None:
    data = encode(Image.fromarray(noise(20, 30)).convert(mode), file_format)
    pixels = decode(data)

    np.testing.assert_array_equal(decode(data, (3, 2, 1)), pixels[..., ::-1])
    assert np.abs(decode(data, "first", (20, 220)) - np.clip((pixels - 20.0) / 200, 0, 1) * 255).max() <= 0.51
    with pytest.raises(InvalidOption, match="no band 4; the image has 3"):
        decode(data, (4,))


def test_a_grey_picture_has_one_band() -> None:
    with pytest.raises(InvalidOption, match="no band 3; the image is grey and has 1"):
        decode(encode(Image.new("L", (5, 4)), "JPEG"), (3, 2, 1))


@pytest.mark.parametrize("value_range", [(0, 4095), "auto"])
def test_ranges_of_16_bit_pngs_are_in_sample_values(value_range: Any) -> None:
    samples = random(1, "uint16", 4096)[0]
    picture = Image.fromarray(samples)
    low, high = (0, 4095) if value_range != "auto" else np.percentile(samples, [2, 98]) @ [[1, -0.25], [0, 1.25]]
    expected = scale_to_rgb(samples[None], low, high)

    assert_shows(encode(picture, "PNG"), expected, value_range=value_range)
    assert np.abs(convert_image(picture, ReadingOptions(range=value_range)) - expected).max() < 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_truncated_file_is_refused_as_such(layout: dict[str, Any]) -> None:
    data = geotiff(random(5, "float64"), **layout)
    tags = read_tags(data, {273, 279, 324, 325})
    end = max(sum(pair) for pair in zip(tags.get(273) or tags[324], tags.get(279) or tags[325], strict=True))
    if end < len(data) - 1:
        pytest.skip("the directory is at the end of the file")

    with pytest.raises(InvalidImage, match=r"5 bands of float64.* is truncated: .* byte"):
        decode(data[:-20])


@pytest.mark.parametrize(
    ("samples", "photometric", "tags", "message"),
    [
        (np.zeros((4, 5, 2), np.float32), GREY, {258: [64], 277: [1], 339: [6]}, "1 band of complex64"),
        (np.zeros((4, 5, 3), np.uint8), RGB, {258: [8, 8, 4]}, r"different types \(8, 8, 4 bits\)"),
        (np.zeros((4, 5), np.uint16), 3, {320: [0] * 3 * 65_536}, "1 band of uint16, palette"),
        (np.zeros((4, 5, 3), np.uint16), 8, {}, r"3 bands of uint16, L\*a\*b\*"),
        (np.zeros((4, 5, 4), np.float32), CMYK, {}, "4 bands of float32, CMYK"),
    ],
)
def test_an_unsupported_kind_is_not_reported_as_truncated(
    samples: Samples, photometric: int, tags: dict[int, Any], message: str
) -> None:
    with pytest.raises(InvalidImage, match=message) as error:
        decode(tiff(samples, photometric, tags=tags))

    assert "truncated" not in str(error.value)


def test_bands_and_depth_count_towards_the_pixel_limit() -> None:
    data = geotiff(random(5, "float64"))

    with pytest.raises(ImageTooLarge, match=r"37×23 pixels of 5 bands of float64 take 34,040 bytes, the limit is 8,000"):
        open_image(data, Limits(max_pixels=1000))
    assert open_image(data, Limits(max_pixels=34_040 // 8)).pixels == 34_040 // 8


def test_strips_of_many_bands_are_bounded() -> None:
    data = tiff(np.zeros((4, 4, 3), np.float64), RGB, tags={322: [65_520], 323: [16]})

    with pytest.raises(ImageTooLarge, match="tiles of 65520×16"):
        open_image(data, Limits(max_pixels=1_000_000), ReadingOptions(range="auto"))


def test_gdal_receives_one_page_without_file_references() -> None:
    xml = b'<GDALMetadata><Item name="OVERVIEW_FILE" domain="OVERVIEWS">/etc/passwd</Item></GDALMetadata>\0'
    data = tiff(np.zeros((4, 5, 5), np.uint8), GREY, tags={42112: xml, 330: [8], 42113: b"0\0"})

    gdal_input = add_georeference(strip_to_first_image(data).data)

    assert not read_tags(gdal_input, {42112, 330, 42113})
    with MemoryFile(gdal_input) as memory, memory.open(driver="GTiff") as file:
        assert file.tags(ns="OVERVIEWS") == {}
        assert file.overviews(1) == []


@pytest.mark.parametrize("data", [b"<VRTDataset/>", b"/vsicurl/http://127.0.0.1/x.tif", b"SQLite format 3\0" + bytes(100)])
def test_only_tiffs_reach_gdal(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rasterio.io, "MemoryFile", None)

    with pytest.raises(Exception, match=r"not an image|not accepted"):
        open_image(data, Limits(), ReadingOptions(range="auto"))


def test_bytes_after_the_file_are_ignored() -> None:
    samples = random(5)

    assert_shows(geotiff(samples) + bytes(10), scale_to_rgb(samples[:3]))

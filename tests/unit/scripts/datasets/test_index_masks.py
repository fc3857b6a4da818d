"""Masks whose values are class indices, in files of every depth."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import tifffile
from PIL import Image

from scripts.datasets import VOID, DataError, DataSource, check, describe_absence, open_data
from tests.unit.scripts.datasets.support import INDICES, only_mask, write_image, write_pairs


def write_tiff(root: Path, pixels: npt.NDArray[Any], **options: Any) -> Path:
    """Write a plain data set whose only mask is a TIFF."""
    write_image(root / "images" / "a.jpg", np.zeros((*pixels.shape[:2], 3), np.uint8))
    (root / "masks").mkdir()
    tifffile.imwrite(root / "masks" / "a.tif", pixels, **options)
    return root


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_masks_of_every_depth_are_indices(tmp_path: Path, dtype: type[np.integer]) -> None:
    assert only_mask(open_data(write_pairs(tmp_path, {"a": INDICES.astype(dtype)}))) == INDICES.tolist()


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i2", "u4", "i4", ">i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_tiff_masks_of_every_depth_are_indices(tmp_path: Path, dtype: str, compression: str | None) -> None:
    write_tiff(tmp_path, INDICES.astype(dtype), compression=compression)

    assert only_mask(open_data(tmp_path)) == INDICES.tolist()


def test_a_geotiff_mask_is_read(tmp_path: Path) -> None:
    write_tiff(tmp_path, INDICES.astype(np.uint8))
    shape = {"height": INDICES.shape[0], "width": INDICES.shape[1]}
    options = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    with rasterio.open(tmp_path / "masks" / "a.tif", "w", driver="GTiff", count=1, dtype="int64", **options, **shape) as file:
        file.write(INDICES, 1)

    assert only_mask(open_data(tmp_path)) == INDICES.tolist()


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_not_rescaled(tmp_path: Path, bits: int) -> None:
    # Pillow cannot write such a file, and spreads its values over 0..255 when reading.
    row = bytes([0, 0b00011011, 0b11100100] if bits == 2 else [0, 0x01, 0x23, 0x32, 0x10])

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)
    write_pairs(tmp_path, {"a": np.zeros((1, 8), np.uint8)}, names=["a", "b", "c", "d"])
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "masks" / "a.png").write_bytes(png)

    assert only_mask(open_data(tmp_path)) == [[0, 1, 2, 3, 3, 2, 1, 0]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_other_modes_that_hold_indices_are_read(tmp_path: Path, mode: str) -> None:
    pixels = np.array([[0, 1, 1]], np.uint8) * (255 if mode == "1" else 1)
    write_pairs(tmp_path, {"a": pixels})
    Image.fromarray(pixels).convert(mode).save(tmp_path / "masks" / "a.png")

    assert only_mask(open_data(tmp_path)) == [[0, 1, 1]]


def test_values_beyond_the_classes_are_counted(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, {"a": np.array([[0, 1, 300], [300, 65_535, 2]], np.uint16)})

    with pytest.raises(DataError) as caught:
        check(open_data(root), 3, show_progress=False)

    assert "a.png: holds index 300 (2 pixels), 65535 (1 pixel); must be 0 to 2, or 255 for void" in str(caught.value)
    assert "--mask-values 128=roof,65535=ignore" in str(caught.value)


def test_a_value_above_255_is_not_wrapped(tmp_path: Path) -> None:
    data = open_data(write_pairs(tmp_path, {"a": np.array([[0, 256, 257]], np.uint16)}))

    with pytest.raises(DataError, match=r"holds index 256 \(1 pixel\), 257 \(1 pixel\)"):
        data.read(data.samples[0])


def test_negative_values_and_fractions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds index -1 \(1 pixel\); must be 0 to 2"):
        check(open_data(write_tiff(tmp_path / "a", np.array([[-1, 0]], np.int32))), 3, show_progress=False)
    for number, value in enumerate((0.5, np.nan)):
        with pytest.raises(DataError, match="holds fractions"):
            only_mask(open_data(write_tiff(tmp_path / f"b{number}", np.array([[value, 0]], np.float32))))


def test_a_transparent_mask_is_refused(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, {"a": np.array([[[0, 0, 0, 255], [1, 1, 1, 0]]], np.uint8)})

    with pytest.raises(DataError, match="1 pixels of the mask are transparent"):
        only_mask(open_data(root))


def test_a_tiff_of_bands_is_refused(tmp_path: Path) -> None:
    root = write_tiff(tmp_path, np.zeros((3, 4, 2), np.int64), photometric="minisblack", planarconfig="contig")

    with pytest.raises(DataError, match=r"a\.tif: has 2 bands of int64; a mask has one band"):
        only_mask(open_data(root))


def test_mask_values_map_values_to_classes(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, {"a": np.array([[0, 9, 128, 255, 1]], np.uint8)})
    source = DataSource.model_validate({"folder": root, "mask_values": {9: "ignore", 128: "Dog", 255: "cat"}})

    assert only_mask(open_data(source)) == [[0, VOID, 2, 1, 1]]


def test_mask_values_of_16_bits(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, {"a": np.array([[0, 1000, 65_535, 1]], np.uint16)})
    source = DataSource.model_validate({"folder": root, "mask_values": {1000: 2, 65_535: "ignore"}})

    assert only_mask(open_data(source)) == [[0, 2, VOID, 1]]


@pytest.mark.parametrize("meaning", ["horse", 3, -1])
def test_mask_values_must_name_classes(tmp_path: Path, meaning: int | str) -> None:
    root = write_pairs(tmp_path, {"a": INDICES.astype(np.uint8)})
    source = DataSource.model_validate({"folder": root, "mask_values": {255: meaning}})

    with pytest.raises(
        DataError, match=f"mask_values: 255 stands for {meaning!r}; it must be one of the classes background, cat"
    ):
        open_data(source)


def test_the_report_of_an_absent_class_explains_255(tmp_path: Path) -> None:
    mask = np.array([[0, 0, 255, 255, 255]], np.uint8)
    data = open_data(write_pairs(tmp_path, {"a": mask}, names=("background", "roof")))

    text = describe_absence(data, ("background", "roof"), check(data, 2, show_progress=False))

    assert "no mask holds roof (1); the masks hold 0 (background) in 2 pixels, 255 (ignored) in 3 pixels" in text
    assert '255 means "ignore" here; if it stands for roof, say so with --mask-values 255=roof' in text

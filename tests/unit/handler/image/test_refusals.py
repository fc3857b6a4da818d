"""Errors name the reason why a file is refused."""

import struct

import numpy as np
import pytest
from PIL import Image

from handler.errors import InvalidImage, UnsupportedImageFormat
from handler.image.decode import decode_image
from handler.limits import Limits
from tests.support import encode, noise
from tests.unit.handler.image.image_files import tiff

PHOTO = Image.fromarray(noise(20, 30))


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\3\4", "ZIP"),
        (b"CDF\1", "NetCDF"),
        (b"\x93NUMPY\1\0", "NumPy"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"FUJIFILMCCD-RAW ", "camera raw"),
        (b"\0\0\0\x18ftypcrx ", "camera raw"),
        (b"\0\0\0\x18ftypisom", "video"),
    ],
)
def test_files_mistaken_for_images_are_named(signature: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImageFormat, match=f"^{name} files are not accepted; JPEG, .* are$"):
        decode_image(signature + bytes(100), Limits())


@pytest.mark.parametrize(
    ("frame", "bits", "kind"), [(0xC1, 12, "12 bits"), (0xC3, 8, "lossless"), (0xC5, 8, "hierarchical"), (0xF7, 8, "JPEG-LS")]
)
def test_jpegs_that_libjpeg_does_not_read_are_refused_with_their_kind(frame: int, bits: int, kind: str) -> None:
    data = bytearray(encode(PHOTO, "JPEG"))
    offset = data.index(b"\xff\xc0")
    data[offset + 1], data[offset + 4] = frame, bits

    with pytest.raises(InvalidImage, match=f"not supported, {kind}$"):
        decode_image(bytes(data), Limits())


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: [1], 330: [8]}], ids=["DNG", "preview"])
def test_a_camera_raw_file_is_refused_despite_its_preview(tags: dict[int, bytes | list[int]]) -> None:
    with pytest.raises(UnsupportedImageFormat, match="camera raw"):
        decode_image(tiff(np.asarray(PHOTO), 2, tags=tags), Limits())


def test_a_truncated_tiff_says_where_it_should_end() -> None:
    samples_first = tiff(np.asarray(PHOTO), 2)
    directory_first = encode(PHOTO, "TIFF")

    with pytest.raises(InvalidImage, match=r"0 readable tags.* directory should be at byte 1,808, the file has 900"):
        decode_image(samples_first[:900], Limits())
    with pytest.raises(InvalidImage, match=r"truncated: its samples end at byte [0-9,]+, it has 900"):
        decode_image(directory_first[:900], Limits())
    assert struct.unpack_from("<I", samples_first, 4) == (1808,)

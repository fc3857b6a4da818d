"""Image files and ICC profiles, byte by byte: kinds that Pillow cannot write, with exactly known samples."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]

#: From linear RGB to XYZ under D50 (columns: primaries), as in their profiles.
SRGB_TO_XYZ: Matrix = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
DISPLAY_P3_TO_XYZ: Matrix = np.array(
    [[0.5151187, 0.2919778, 0.1571035], [0.2411892, 0.6922441, 0.0665668], [-0.0010505, 0.0418791, 0.7840713]]
)
D50: Matrix = np.array([0.9642, 1.0, 0.8249])


def png(samples: Samples, colour_type: int, bits: int = 8, chunks: Mapping[bytes, bytes] | None = None) -> bytes:
    """Build a PNG of H×W or H×W×C integers; `chunks` precede the samples."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1).astype(np.int64)
    bit_array = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(bit_array.reshape(height, -1).astype(np.uint8), axis=1)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    extra_chunks = b"".join(png_chunk(kind, data) for kind, data in (chunks or {}).items())
    data = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra_chunks + data + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Build a chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(
    samples: Samples,
    photometric: int,
    *,
    order: Literal["<", ">"] = "<",
    planes: bool = False,
    deflate: bool = False,
    tags: Mapping[int, bytes | Sequence[int]] | None = None,
) -> bytes:
    """Build a TIFF of H×W or H×W×C numbers in one strip, or with `planes` in one strip per band."""
    height, width, bands = (*samples.shape, 1)[:3]
    raw_samples = samples.astype(samples.dtype.newbyteorder(order))
    strips = [raw_samples[..., band].tobytes() for band in range(bands)] if planes else [raw_samples.tobytes()]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    offsets = np.cumsum([8, *map(len, strips)])
    values: dict[int, bytes | Sequence[int]] = {
        256: [width],
        257: [height],
        258: [samples.dtype.itemsize * 8] * bands,
        259: [8 if deflate else 1],
        262: [photometric],
        273: offsets[:-1].tolist(),
        277: [bands],
        278: [height],
        279: [len(strip) for strip in strips],
        284: [2 if planes else 1],
        339: [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * bands,
        **(tags or {}),
    }
    header = (b"II\x2a\0" if order == "<" else b"MM\0\x2a") + struct.pack(order + "I", offsets[-1])
    return header + b"".join(strips) + directory(values, int(offsets[-1]), order)


def directory(values: Mapping[int, bytes | Sequence[int]], offset: int, order: str = "<") -> bytes:
    """Build a TIFF directory at `offset`: bytes as type 7, 258 and similar tags as 16 bits, others as 32."""
    entries, tail = struct.pack(order + "H", len(values)), b""
    tail_offset = offset + 2 + 12 * len(values) + 4
    for tag, value in sorted(values.items()):
        short = tag in (258, 259, 262, 274, 277, 284, 320, 338, 339)
        kind = 7 if isinstance(value, bytes) else 3 if short else 4
        data = value if isinstance(value, bytes) else struct.pack(f"{order}{len(value)}{'H' if short else 'I'}", *value)
        value_field = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", tail_offset + len(tail))
        tail += data if len(data) > 4 else b""
        entries += struct.pack(order + "HHI", tag, kind, len(value)) + value_field
    return entries + bytes(4) + tail


def exif(orientation: int) -> bytes:
    """Build an EXIF block with an orientation."""
    return b"II\x2a\0\x08\0\0\0" + directory({274: [orientation]}, 8)


def _profile(space: bytes, connection_space: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """Build an ICC profile of version 2 (ICC.1:2001-04)."""
    all_tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78), b"cprt": b"text" + bytes(5), **tags}
    offset, table, data = 128 + 4 + 12 * len(all_tags), struct.pack(">I", len(all_tags)), b""
    for name, value in all_tags.items():
        table += name + struct.pack(">II", offset + len(data), len(value))
        data += value.ljust(-(-len(value) // 4) * 4, b"\0")
    body = table + data
    device = b"prtr" if space == b"CMYK" else b"mntr"
    header = struct.pack(">I4sI4s4s4s", 128 + len(body), bytes(4), 0x02100000, device, space, connection_space)
    return header + bytes(12) + b"acsp" + bytes(28) + _xyz(D50)[8:] + bytes(48) + body


def _xyz(value: Matrix) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(x * 65_536) for x in value))


def _gamma(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def matrix_profile(primaries: Matrix, gamma: float) -> bytes:
    """Build an RGB profile from its primaries under D50 and one exponent."""
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(gamma))
    colours = {name: _xyz(primaries[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return _profile(b"RGB ", b"XYZ ", {b"wtpt": _xyz(D50), **colours, **curves})


def grey_profile(gamma: float) -> bytes:
    """Build a grey profile from one exponent."""
    return _profile(b"GRAY", b"XYZ ", {b"wtpt": _xyz(D50), b"kTRC": _gamma(gamma)})


def cmyk_profile(lab_of_corners: Mapping[tuple[int, ...], Matrix]) -> bytes:
    """Build a CMYK profile from the L*a*b* of its 16 corners, each of four zeros and ones."""
    lut = b"mft1" + bytes(4) + struct.pack(">4B9i", 4, 3, 2, 0, *(65_536 * (i % 4 == 0) for i in range(9)))
    corners = [lab_of_corners[corner] for corner in product((0, 1), repeat=4)]
    colours = np.rint([[lightness * 2.55, a + 128, b + 128] for lightness, a, b in corners]).astype(np.uint8)
    ramp = bytes(range(256))
    return _profile(b"CMYK", b"Lab ", {b"wtpt": _xyz(D50), b"A2B0": lut + ramp * 4 + colours.tobytes() + ramp * 3})


def srgb_of_xyz(xyz: Matrix) -> Matrix:
    """Convert XYZ under D50 to sRGB, 0..255 (IEC 61966-2-1)."""
    linear = np.clip(xyz @ np.linalg.inv(SRGB_TO_XYZ).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def xyz_of_lab(lab: Matrix) -> Matrix:
    """Convert CIE L*a*b* to XYZ, both under D50."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    return np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * D50

"""Small real image files of every accepted format, mode and compression, for mutation."""

import functools
import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageCms
from skimage import data

from tests.support import ENCODED_FORMATS, encode

SIZE = (48, 36)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@functools.cache
def seed_files() -> dict[str, bytes]:
    """Return the bytes of each file by a name that says what is special about it."""
    return {**_jpegs(), **_pngs(), **_webps(), **_tiffs(), **_phone_files(), **_bmps_and_gifs()}


def _photo(name: str = "chelsea") -> Image.Image:
    return Image.fromarray(getattr(data, name)()).resize(SIZE)


def _alpha() -> Image.Image:
    photo = _photo("astronaut").convert("RGBA")
    photo.putalpha(_photo().convert("L"))
    return photo


def _extra_frames() -> list[Image.Image]:
    return [_photo("astronaut"), _photo("coffee")]


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 6, "a camera", {0x9003: "2020:01:01 00:00:00"}
    return exif


def _jpegs() -> dict[str, bytes]:
    lab_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    variants: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "baseline": (_photo(), {}),
        "progressive": (_photo(), {"progressive": True}),
        "optimized 4:4:4": (_photo(), {"optimize": True, "subsampling": 0, "quality": 98}),
        "restart markers": (_photo(), {"restart_marker_blocks": 2}),
        "grey": (_photo().convert("L"), {}),
        "CMYK": (_photo().convert("CMYK"), {}),
        "EXIF": (_photo(), {"exif": _exif()}),
        "ICC": (_photo(), {"icc_profile": srgb_profile}),
        "ICC of another space": (_photo(), {"icc_profile": lab_profile}),
        "comment": (_photo(), {"comment": b"a comment" * 20}),
    }
    files = {f"JPEG {name}": encode(picture, "JPEG", **options) for name, (picture, options) in variants.items()}
    return {**files, "JPEG MPO": encode(_photo(), "MPO", save_all=True, append_images=_extra_frames())}


def _pngs() -> dict[str, bytes]:
    rgb, grey = _photo(), _photo().convert("L")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    palette = rgb.quantize(200)
    grey_16_bit = np.asarray(grey, np.uint16) * 257
    variants: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "RGB": (rgb, {}),
        "grey": (grey, {}),
        "1 bit": (rgb.convert("1"), {}),
        "16 bit grey": (Image.fromarray(grey_16_bit), {}),
        "palette": (palette, {}),
        "palette of 2 bits": (rgb.quantize(4), {"bits": 2}),
        "palette with transparency": (palette, {"transparency": bytes(range(200))}),
        "transparent colour": (rgb, {"transparency": (10, 20, 30)}),
        "RGBA": (_alpha(), {}),
        "LA": (_alpha().convert("LA"), {}),
        "EXIF": (rgb, {"exif": _exif()}),
        "ICC": (rgb, {"icc_profile": profile}),
        "APNG": (rgb, {"save_all": True, "append_images": _extra_frames(), "duration": 100}),
    }
    files = {f"PNG {name}": encode(picture, "PNG", **options) for name, (picture, options) in variants.items()}
    files["PNG interlaced"] = png(np.asarray(rgb), 8, 2, interlaced=True)
    files["PNG interlaced 16 bit RGBA"] = png(np.asarray(_alpha(), np.uint16) * 257, 16, 6, interlaced=True)
    files["PNG 16 bit RGB"] = png(np.asarray(rgb, np.uint16) * 257, 16, 2)
    files["PNG 16 bit LA"] = png(np.asarray(_alpha().convert("LA"), np.uint16) * 257, 16, 4)
    return files


def png(samples: npt.NDArray[np.unsignedinteger], bits: int, colour_type: int, *, interlaced: bool = False) -> bytes:
    """Write a PNG of a kind that Pillow does not write; `samples` are H×W×channels of 8 or 16 bits."""
    height, width = samples.shape[:2]
    passes = [samples[y::y_step, x::x_step] for x, y, x_step, y_step in _ADAM7] if interlaced else [samples]
    rows = (
        b"\0" + row.astype(">u2" if bits == 16 else "u1").tobytes()
        for image_pass in passes
        if image_pass.size
        for row in image_pass
    )
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced),
        b"IDAT": zlib.compress(b"".join(rows)),
        b"IEND": b"",
    }
    encoded_chunks = (
        struct.pack(">I", len(value)) + kind + value + struct.pack(">I", zlib.crc32(kind + value))
        for kind, value in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(encoded_chunks)


def _webps() -> dict[str, bytes]:
    return {
        "WebP lossy": encode(_photo(), "WEBP", quality=60),
        "WebP lossless": encode(_photo(), "WEBP", lossless=True),
        "WebP with alpha": encode(_alpha(), "WEBP", quality=60),
        "WebP with EXIF": encode(_photo(), "WEBP", exif=_exif()),
        "WebP animated": encode(_photo(), "WEBP", save_all=True, append_images=_extra_frames()),
    }


def _tiffs() -> dict[str, bytes]:
    rgb, bilevel = _photo(), _photo().convert("1")
    pillow_files = {
        f"TIFF {mode} {compression}": encode(_alpha() if mode == "RGBA" else rgb.convert(mode), "TIFF", compression=compression)
        for mode in ("RGB", "L", "RGBA", "CMYK", "P")
        for compression in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate")
    }
    pillow_files["TIFF JPEG"] = encode(rgb, "TIFF", compression="jpeg")
    pillow_files["TIFF LAB"] = encode(Image.merge("LAB", rgb.split()), "TIFF")
    pillow_files["TIFF float"] = encode(Image.fromarray(np.asarray(rgb.convert("L"), np.float32) / 255), "TIFF")
    pillow_files["TIFF int32"] = encode(Image.fromarray(np.asarray(rgb.convert("L"), np.int32) * 257), "TIFF")
    pillow_files["TIFF 16 bit"] = encode(Image.fromarray(np.asarray(rgb.convert("L"), np.uint16) * 257), "TIFF")
    pillow_files["TIFF pages"] = encode(rgb, "TIFF", save_all=True, append_images=_extra_frames())
    for compression in ("group3", "group4", "tiff_ccitt"):
        pillow_files[f"TIFF {compression}"] = encode(bilevel, "TIFF", compression=compression)
    return {**pillow_files, **_scientific_tiffs()}


def _scientific_tiffs() -> dict[str, bytes]:
    rgb = np.asarray(_photo())
    bands = np.concatenate([rgb, rgb[..., :2]], -1)
    planes, deflated = np.ascontiguousarray(bands.transpose(2, 0, 1)), {"compression": "zlib", "predictor": True}
    variants: dict[str, tuple[npt.NDArray[np.generic], dict[str, Any]]] = {
        "tiled": (rgb, {"tile": (16, 16)}),
        "tiled deflate": (rgb, {"tile": (16, 16), "compression": "zlib"}),
        "planar": (np.ascontiguousarray(rgb.transpose(2, 0, 1)), {"photometric": "rgb", "planarconfig": "separate"}),
        "big-endian": (rgb, {"byteorder": ">"}),
        "BigTIFF": (rgb, {"bigtiff": True}),
        "16 bit RGB": (rgb.astype(np.uint16) * 257, {"photometric": "rgb"}),
        "min is white": (rgb[..., 0], {"photometric": "miniswhite"}),
        "5 bands": (bands, {"photometric": "minisblack", "planarconfig": "contig"}),
        "5 bands planar": (planes, {"photometric": "minisblack", "planarconfig": "separate", "compression": "zlib"}),
        "5 bands tiled float": (bands / 255, {"photometric": "minisblack", "planarconfig": "contig", "tile": (16, 16)}),
        "half float": (rgb.astype(np.float16) / 255, {"photometric": "rgb"}),
        "int32 predictor": (bands.astype(np.int32), {**deflated, "photometric": "minisblack", "planarconfig": "contig"}),
        "big-endian BigTIFF of float64": (rgb / 255, {"photometric": "rgb", "byteorder": ">", "bigtiff": True}),
    }
    files = {}
    for name, (samples, options) in variants.items():
        file = io.BytesIO()
        tifffile.imwrite(file, samples, **options)
        files[f"TIFF {name}"] = file.getvalue()
    return files


def _phone_files() -> dict[str, bytes]:
    grey, frames = _photo().convert("L"), {"save_all": True, "append_images": _extra_frames()}
    variants: dict[str, tuple[str, Image.Image, dict[str, Any]]] = {
        "AVIF": ("AVIF", _photo(), {"exif": _exif()}),
        "AVIF with alpha": ("AVIF", _alpha(), {}),
        "AVIF animated": ("AVIF", _photo(), frames),
        "JPEG 2000": ("JPEG2000", _photo(), {}),
        "JPEG 2000 codestream": ("JPEG2000", _photo(), {"no_jp2": True}),
        "JPEG 2000 tiled lossy": ("JPEG2000", _alpha(), {"tile_size": (16, 16), "quality_layers": [20], "irreversible": True}),
        "JPEG 2000 16 bit": ("JPEG2000", Image.fromarray(np.asarray(grey, np.uint16) * 257), {}),
        "HEIC": ("HEIF", _photo(), {"exif": _exif().tobytes()}),
        "HEIC with alpha": ("HEIF", _alpha(), {}),
        "HEIC grid": ("HEIF", _photo().resize((96, 72)), {"tile_size": 64}),
    }
    return {
        name: encode(picture, file_format, **options)
        for name, (file_format, picture, options) in variants.items()
        if file_format in ENCODED_FORMATS
    }


def _bmps_and_gifs() -> dict[str, bytes]:
    rgb = _photo()
    return {
        "BMP RGB": encode(rgb, "BMP"),
        "BMP palette": encode(rgb.quantize(16), "BMP"),
        "BMP 1 bit": encode(rgb.convert("1"), "BMP"),
        "BMP RGBA": encode(_alpha(), "BMP"),
        "GIF": encode(rgb, "GIF"),
        "GIF interlaced": encode(rgb.quantize(64), "GIF", interlace=True),
        "GIF with transparency": encode(rgb.quantize(32), "GIF", transparency=3),
        "GIF animated": encode(rgb, "GIF", save_all=True, append_images=_extra_frames(), disposal=2, comment=b"hello"),
    }

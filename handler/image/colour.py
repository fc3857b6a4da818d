"""Conversion of any Pillow mode to RGB: scaling to 8 bits, palettes, ICC profiles, transparency over white."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.geometry import RGBImage
from handler.image.icc import LAB_PROFILE, srgb_transform
from handler.strips import row_strips

#: Pixels converted at once. Their copies fit into a processor's cache, and little is held beside the image and the result.
_STRIP_PIXELS = 1 << 18
#: Modes that differ from another only in how they are packed, or that Pillow converts exactly.
_EQUIVALENT = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}

#: The transparent colour: a grey, an index or three samples; or the alpha of each colour of a palette.
TransparentColour = int | tuple[int, ...] | bytes | None


@dataclass(frozen=True)
class SampleEncoding:
    """How to read the numbers of a file as colours."""

    #: Empty for sRGB.
    icc_profile: bytes = b""
    transparent: TransparentColour = None
    #: The value that is white, in grey of more than 8 bits.
    white: int = 65_535
    #: Whether 0 is white instead, in grey of more than 8 bits.
    zero_is_white: bool = False


@dataclass(frozen=True)
class _Layers:
    """8-bit colour in mode L, RGB, CMYK or LAB, and its opacity, 0 to 255; None if opaque everywhere."""

    colour: Image.Image
    alpha: Image.Image | None = None


def write_rgb(image: Image.Image, encoding: SampleEncoding, out: RGBImage) -> None:
    """Convert `image`, of any mode, to sRGB, and write it into `out`: uint8 H×W×3, any view of an array."""
    if image.mode in ("P", "PA"):
        layers, profile = _palette_layers(image, encoding), b""  # The palette is converted once, as a small image.
    else:
        layers, profile = functools.partial(_layers, encoding=encoding), encoding.icc_profile
    for rows in row_strips(image.height, image.width, _STRIP_PIXELS):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        out[rows] = np.asarray(_over_white(layers(strip), profile))


def _over_white(layers: _Layers, profile: bytes) -> Image.Image:
    rgb = _srgb(layers.colour, profile)
    if layers.alpha is None:
        return rgb
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=layers.alpha)
    return white


def _srgb(colour: Image.Image, profile: bytes) -> Image.Image:
    transform = srgb_transform(profile, colour.mode) if profile else None
    if transform is None and colour.mode == "LAB":
        transform = srgb_transform(LAB_PROFILE, "LAB")
    if transform is not None:
        return transform.apply(colour)
    return colour if colour.mode == "RGB" else colour.convert("RGB")


def _layers(strip: Image.Image, encoding: SampleEncoding) -> _Layers:
    strip.info.clear()  # Otherwise Pillow applies the transparent colour, and differently.
    if strip.mode in _EQUIVALENT:
        strip = strip.convert(_EQUIVALENT[strip.mode])
    if strip.mode == "RGBA":
        return _Layers(strip.convert("RGB"), strip.getchannel("A"))
    if strip.mode == "LA":
        return _Layers(strip.getchannel("L"), strip.getchannel("A"))
    colour = strip if strip.mode in ("L", "RGB", "CMYK", "LAB") else _eight_bit_grey(strip, encoding)
    if encoding.transparent is None:
        return _Layers(colour)
    differs = np.asarray(strip) != encoding.transparent
    return _Layers(colour, Image.fromarray((differs.any(-1) if differs.ndim == 3 else differs).astype(np.uint8) * 255))


def _eight_bit_grey(strip: Image.Image, encoding: SampleEncoding) -> Image.Image:
    values = np.asarray(strip)
    if strip.mode == "F":
        grey = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    else:
        grey = _grey_table(encoding.white)[np.clip(values, 0, 65_535)]
    return Image.fromarray(255 - grey if encoding.zero_is_white else grey)


@functools.cache
def _grey_table(white: int) -> npt.NDArray[np.uint8]:
    """Map each 16-bit value to 8 bits, rounded."""
    table: npt.NDArray[np.uint8] = (np.minimum(np.arange(65_536) * 255 + white // 2, white * 255) // white).astype(np.uint8)
    return table


def _palette_layers(image: Image.Image, encoding: SampleEncoding) -> Callable[[Image.Image], _Layers]:
    """Return the conversion of a strip of indices to colours in sRGB."""
    palette = np.zeros((256, 3), np.uint8)
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)[:256]
    palette[: len(colours)] = colours
    alpha = np.full((1, 256), 255, np.uint8)
    if isinstance(encoding.transparent, bytes):
        alpha[0, : len(encoding.transparent)] = list(encoding.transparent[:256])
    elif isinstance(encoding.transparent, int):
        alpha[0, encoding.transparent : encoding.transparent + 1] = 0
    layers = _Layers(Image.fromarray(palette[None]), Image.fromarray(alpha))
    table = np.asarray(_over_white(layers, encoding.icc_profile))[0]

    def lookup(strip: Image.Image) -> _Layers:
        opacity = strip.getchannel("A") if strip.mode == "PA" else None
        indices = np.asarray(strip.getchannel("P") if strip.mode == "PA" else strip)
        return _Layers(Image.fromarray(table[indices]), opacity)

    return lookup

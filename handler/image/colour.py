"""Convert any Pillow mode to RGB: scaling to 8 bits, palettes, ICC profiles, transparency over white."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.geometry import RGBImage
from handler.image.icc import LAB_PROFILE, srgb_transform
from handler.image.sample_range import SampleRange, Samples, auto_range, sampling_step, to_eight_bits
from handler.options import FIRST_BANDS, TYPE_RANGE, ReadingOptions
from handler.strips import row_strips

#: Pixels converted at once. Their copies fit in a processor's cache and take little memory besides the image and the result.
_STRIP_PIXELS = 1 << 18
#: Modes that differ from another mode only in packing, or that Pillow converts exactly.
_EQUIVALENT = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}

#: Modes of more than 8 bits.
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_DEFAULT_READING = ReadingOptions()

#: Yields strips: rows, colours in sRGB, and opacity.
_Strips = Callable[[], Iterator[tuple[slice, Image.Image, Image.Image | None]]]
#: The transparent colour (a grey, an index or three samples), or the alpha of each palette colour.
TransparentColour = int | tuple[int, ...] | bytes | None


@dataclass(frozen=True)
class SampleEncoding:
    """How to interpret a file's samples as colours."""

    #: Empty for sRGB.
    icc_profile: bytes = b""
    transparent: TransparentColour = None
    #: The white value of grey of more than 8 bits.
    white: int = 65_535
    #: Whether 0 is white instead, in grey of more than 8 bits.
    zero_is_white: bool = False
    #: Whether to ignore alpha.
    ignores_alpha: bool = False
    #: The file's values shown as black and white; None for the full range of their type.
    sample_range: SampleRange | None = None
    #: The file's value for one 8-bit step, where Pillow keeps only the upper bytes.
    step: int = 1


@dataclass(frozen=True)
class _Layers:
    """8-bit colour in mode L, RGB, CMYK or LAB, and its opacity, 0 to 255, or None if it is fully opaque."""

    colour: Image.Image
    alpha: Image.Image | None = None


def write_rgb(image: Image.Image, encoding: SampleEncoding, out: RGBImage, options: ReadingOptions = _DEFAULT_READING) -> None:
    """Convert `image`, of any mode, to sRGB and write it into `out`: uint8 H×W×3, any view of an array.

    `options` selects the bands, among red, green and blue, and the values shown as black and white. These are values of the
    file, or of sRGB if the image has a profile.
    """
    if image.mode in _DEEP_MODES:
        encoding = replace(encoding, sample_range=_find_deep_range(image, encoding, options))
        options = options.model_copy(update={"range": TYPE_RANGE})
    strips = functools.partial(_convert_strips, image, encoding)
    adjust = _make_adjustment(options, encoding, strips, sampling_step(image.width * image.height))
    for rows, rgb, alpha in strips():
        out[rows] = np.asarray(_blend_over_white(adjust(rgb), alpha))


def blend_over_white(
    colour: Image.Image, alpha: npt.NDArray[np.uint8] | None, profile: bytes, *, premultiplied: bool
) -> npt.NDArray[np.uint8]:
    """Convert `colour`, in mode L or RGB, by its profile and blend it over white with `alpha`, H×W; return uint8 H×W×3.

    `premultiplied` means that the colour is already multiplied by alpha.
    """
    rgb = _to_srgb(colour, profile)
    if alpha is None or not premultiplied:
        return np.asarray(_blend_over_white(rgb, None if alpha is None else Image.fromarray(alpha)))
    blended: npt.NDArray[np.uint8] = np.minimum(np.asarray(rgb, np.uint16) + (255 - alpha[..., np.newaxis]), 255).astype(
        np.uint8
    )
    return blended


def looks_like_alpha(values: npt.NDArray[np.number], opaque: float) -> bool:
    """Whether most nonzero values are `opaque`, as in a map's alpha; a measured band has many other values."""
    visible = int(np.count_nonzero(values))
    return 0 < visible <= 2 * int(np.count_nonzero(values == opaque))


def _convert_strips(image: Image.Image, encoding: SampleEncoding) -> Iterator[tuple[slice, Image.Image, Image.Image | None]]:
    """Yield strips of the image: rows, colours in sRGB, and opacity."""
    if image.mode in ("P", "PA"):
        convert, profile = _palette_converter(image, encoding), b""  # The palette is converted once, as a small image.
    else:
        convert, profile = functools.partial(_split_layers, encoding=encoding), encoding.icc_profile
    for rows in row_strips(image.height, image.width, _STRIP_PIXELS):
        strip = convert(image.crop((0, rows.start, image.width, rows.stop)))
        yield rows, _to_srgb(strip.colour, profile), None if encoding.ignores_alpha else strip.alpha


def _blend_over_white(rgb: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return rgb
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=alpha)
    return white


def _make_adjustment(
    options: ReadingOptions, encoding: SampleEncoding, strips: _Strips, step: int
) -> Callable[[Image.Image], Image.Image]:
    """Return a function that applies the chosen bands and range to a strip in sRGB."""
    if options.bands == FIRST_BANDS and options.range == TYPE_RANGE:
        return lambda rgb: rgb
    bands = (1, 2, 3) if isinstance(options.bands, str) else options.bands
    order = [band - 1 for band in (bands if len(bands) == 3 else bands * 3)]
    sample_range: SampleRange = (0.0, 255.0)
    if options.range != TYPE_RANGE:
        sample_range = _find_eight_bit_range(options, encoding, order, strips, step)
    table = to_eight_bits(np.arange(256, dtype=np.float32), sample_range)
    return lambda rgb: Image.fromarray(table[np.asarray(rgb)[..., order]])


def _find_eight_bit_range(
    options: ReadingOptions,
    encoding: SampleEncoding,
    order: list[int],
    strips: _Strips,
    step: int,
) -> SampleRange:
    if not isinstance(options.range, str):
        return options.range[0] / encoding.step, options.range[1] / encoding.step
    samples: list[Samples] = []
    for rows, rgb, alpha in strips():
        first = -rows.start % step
        values = np.asarray(rgb)[first::step, ::step][..., order]
        samples.append(values if alpha is None else values[np.asarray(alpha)[first::step, ::step] > 0])
    return auto_range(samples)


def _find_deep_range(image: Image.Image, encoding: SampleEncoding, options: ReadingOptions) -> SampleRange | None:
    """Return the values shown as black and white in grey of more than 8 bits, or None for the full range of its type."""
    if options.range == TYPE_RANGE:
        return None
    if not isinstance(options.range, str):
        return options.range
    values = np.asarray(image)
    step = sampling_step(values.size)
    values = values[::step, ::step]
    return auto_range([values if encoding.transparent is None else values[values != encoding.transparent]])


def _to_srgb(colour: Image.Image, profile: bytes) -> Image.Image:
    transform = srgb_transform(profile, colour.mode) if profile else None
    if transform is None and colour.mode == "LAB":
        transform = srgb_transform(LAB_PROFILE, "LAB")
    if transform is not None:
        return transform.apply(colour)
    return colour if colour.mode == "RGB" else colour.convert("RGB")


def _split_layers(strip: Image.Image, encoding: SampleEncoding) -> _Layers:
    strip.info.clear()  # Otherwise Pillow would apply the transparent colour, in its own way.
    if strip.mode in _EQUIVALENT:
        strip = strip.convert(_EQUIVALENT[strip.mode])
    if strip.mode == "RGBA":
        return _Layers(strip.convert("RGB"), strip.getchannel("A"))
    if strip.mode == "LA":
        return _Layers(strip.getchannel("L"), strip.getchannel("A"))
    colour = strip if strip.mode in ("L", "RGB", "CMYK", "LAB") else _to_eight_bit_grey(strip, encoding)
    if encoding.transparent is None:
        return _Layers(colour)
    is_opaque = np.asarray(strip) != encoding.transparent
    return _Layers(colour, Image.fromarray((is_opaque.any(-1) if is_opaque.ndim == 3 else is_opaque).astype(np.uint8) * 255))


def _to_eight_bit_grey(strip: Image.Image, encoding: SampleEncoding) -> Image.Image:
    values = np.asarray(strip)
    if encoding.sample_range is not None:
        grey = to_eight_bits(values, encoding.sample_range)
    elif strip.mode == "F":
        grey = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    else:
        grey = _grey_table(encoding.white)[np.clip(values, 0, 65_535)]
    return Image.fromarray(255 - grey if encoding.zero_is_white else grey)


@functools.cache
def _grey_table(white: int) -> npt.NDArray[np.uint8]:
    """Return the rounded 8-bit value of each 16-bit value."""
    table: npt.NDArray[np.uint8] = (np.minimum(np.arange(65_536) * 255 + white // 2, white * 255) // white).astype(np.uint8)
    return table


def _palette_converter(image: Image.Image, encoding: SampleEncoding) -> Callable[[Image.Image], _Layers]:
    """Return a function that converts a strip of indices to colours in sRGB."""
    palette = np.zeros((256, 3), np.uint8)
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)[:256]
    palette[: len(colours)] = colours
    alpha = np.full((1, 256), 255, np.uint8)
    if isinstance(encoding.transparent, bytes):
        alpha[0, : len(encoding.transparent)] = list(encoding.transparent[:256])
    elif isinstance(encoding.transparent, int):
        alpha[0, encoding.transparent : encoding.transparent + 1] = 0
    layers = _Layers(Image.fromarray(palette[None]), Image.fromarray(alpha))
    table = np.asarray(_blend_over_white(_to_srgb(layers.colour, encoding.icc_profile), layers.alpha))[0]

    def lookup(strip: Image.Image) -> _Layers:
        opacity = strip.getchannel("A") if strip.mode == "PA" else None
        indices = np.asarray(strip.getchannel("P") if strip.mode == "PA" else strip)
        return _Layers(Image.fromarray(table[indices]), opacity)

    return lookup

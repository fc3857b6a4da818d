"""Read a TIFF's sample layout from the tags of its first page: bands, types, transparency, storage."""

import math
from dataclasses import dataclass

from handler.image.file_formats.tiff import read_tags
from handler.image.sample_range import white_value

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _BANDS, _ROWS_PER_STRIP = 256, 257, 258, 259, 262, 277, 278
_PLANES, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _PROFILE = 284, 322, 323, 338, 339, 34675
_NODATA, _DNG_VERSION, _SUBFILE_TYPE, _FURTHER_PAGES = 42113, 50706, 254, 330
_CANON_RAW = b"CR\2"
#: Tags for the offsets of strips and of tiles, and for their sizes in bytes.
_OFFSET_TAGS, _LENGTH_TAGS = (273, 324), (279, 325)
#: Tags that locate a page on the ground (GeoTIFF 1.1, annex A), and tags that only GDAL writes.
_GEOGRAPHIC_TAGS = {33550, 33922, 34264, 34735, 42112, _NODATA}
_TAGS = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _BANDS, _ROWS_PER_STRIP, _PLANES, _TILE_WIDTH, _TILE_HEIGHT),
    *(_EXTRA_SAMPLES, _SAMPLE_FORMAT, _PROFILE, _DNG_VERSION, _SUBFILE_TYPE, _FURTHER_PAGES, *_GEOGRAPHIC_TAGS),
}
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_COMPLEX = (5, 6)
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
_COLOUR_SPACES = {
    WHITE_IS_ZERO: "grey",
    BLACK_IS_ZERO: "grey",
    RGB: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    **dict.fromkeys((8, 9, 10), "L*a*b*"),
    32803: "a camera's raw pattern",
    32844: "LogL",
    32845: "LogLuv",
    34892: "a camera's raw colour",
}
_COMPRESSIONS = {
    1: "none",
    **dict.fromkeys((2, 3, 4, 32771), "CCITT"),
    5: "LZW",
    6: "old JPEG",
    7: "JPEG",
    **dict.fromkeys((8, 32946), "deflate"),
    **dict.fromkeys((9, 10, 34661), "JBIG"),
    32766: "NeXT",
    32773: "PackBits",
    32809: "ThunderScan",
    **dict.fromkeys((33003, 33005, 34712), "JPEG 2000"),
    **dict.fromkeys((34676, 34677), "SGILog"),
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    **dict.fromkeys((50002, 52546), "JPEG XL"),
}
#: Compressions that Pillow's libtiff unpacks.
_PILLOW_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34925, 50000)
#: Alpha that is multiplied into the colour, alpha that is not, and Corel Draw's value for it.
_ASSOCIATED, _UNASSOCIATED, _COREL = 1, 2, 999
_ALPHA_KINDS = (_ASSOCIATED, _UNASSOCIATED, _COREL)
_PLANAR = 2


@dataclass(frozen=True)
class TiffLayout:
    """The sample layout of a TIFF's first page, according to its tags."""

    width: int
    height: int
    bands: int
    #: Bits per sample; they may differ between bands.
    bits: tuple[int, ...]
    #: 1 unsigned, 2 signed, 3 float, 5 and 6 complex; one per band.
    sample_formats: tuple[int, ...]
    photometric: int
    compression: int
    #: Whether each band is stored separately.
    is_planar: bool
    #: Width and height of the pieces that are unpacked as a whole: tiles or strips.
    block: tuple[int, int]
    #: The kinds of the last bands; 1 or 2 for alpha.
    extra_samples: tuple[int, ...]
    #: Whether it is a map or a scene, rather than a picture.
    is_geographic: bool
    #: The value that marks missing samples.
    nodata: float | None
    #: Whether it is a camera's raw file, whose first page is only a preview.
    is_camera_raw: bool
    icc_profile: bytes

    @property
    def type_name(self) -> str:
        """NumPy's name of the sample type."""
        bits, kind = self.bits[0], {_SIGNED: "int", _FLOAT: "float"}.get(self.sample_formats[0], "uint")
        if self.sample_formats[0] in _COMPLEX:
            return f"complex{bits}"
        return f"{kind}{bits}" if bits in (8, 16, 32, 64) else f"{bits}-bit {kind}"

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample in memory."""
        if self.is_float and self.bits[0] == 16:
            return 4
        return next((size for size in (1, 2, 4) if self.bits[0] <= 8 * size), 8)

    @property
    def is_float(self) -> bool:
        """Whether the samples are floats."""
        return self.sample_formats[0] == _FLOAT

    @property
    def white(self) -> int:
        """The white value, which is also opaque alpha: the greatest for up to 16 bits, 65,535 above, 1 for floats."""
        return white_value(self.bits[0], signed=self.sample_formats[0] == _SIGNED, is_float=self.is_float)

    @property
    def alpha(self) -> int | None:
        """The number of the band tagged as alpha, 1 for the first, or None if no band is."""
        first = self.bands - len(self.extra_samples) + 1
        return next(
            (first + index for index, kind in enumerate(self.extra_samples) if kind in _ALPHA_KINDS and first + index > 0), None
        )

    @property
    def alpha_is_premultiplied(self) -> bool:
        """Whether the colour is already multiplied by alpha."""
        return _ASSOCIATED in self.extra_samples

    @property
    def alpha_is_uncertain(self) -> bool:
        """Whether alpha may be another fourth band, such as near infrared, which GDAL tags as alpha by default."""
        return self.is_geographic and self.alpha is not None and not self.alpha_is_premultiplied

    @property
    def is_picture(self) -> bool:
        """Whether Pillow reads this kind correctly, if at all."""
        kind, alpha = (self.sample_formats[0], self.bits[0]), self.alpha
        if self.compression not in _PILLOW_COMPRESSIONS:
            return False
        if self.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
            return True
        if self.photometric == RGB:
            return kind == (_UNSIGNED, 8) or (kind == (_UNSIGNED, 16) and self.bands <= 4)
        return (self.bands == 1 and kind != (_SIGNED, 8)) or (self.bands, alpha, kind, self.is_planar) == (
            2,
            2,
            (_UNSIGNED, 8),
            False,
        )

    @property
    def has_plain_bands(self) -> bool:
        """Whether its bands are grey or RGB, not another colour space or palette indices."""
        return self.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) and self.fault is None

    @property
    def default_bands(self) -> tuple[int, ...]:
        """The numbers of the bands shown by default: the first three, or the first if there are fewer; never alpha."""
        colours = [number for number in range(1, min(self.bands, 8) + 1) if number != self.alpha]
        return tuple(colours[:3] if len(colours) >= 3 else colours[:1])

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of all samples that must be unpacked to show the image."""
        return self.width * self.height * self._unpacked_bands * self.sample_bytes

    @property
    def block_bytes(self) -> int:
        """Bytes of the samples in one tile or strip."""
        return math.prod(self.block) * (1 if self.is_planar else self.bands) * self.sample_bytes

    @property
    def _unpacked_bands(self) -> int:
        return min(self.bands, 4) if self.is_planar else self.bands

    @property
    def fault(self) -> str | None:
        """Why the samples cannot be read at all, or None if they can."""
        if len({*zip(self.bits, self.sample_formats, strict=True)}) > 1:
            depths = ", ".join(map(str, self.bits[:8]))
            return f"its {self.bands} bands have different types ({depths} bits)"
        if self.sample_formats[0] in _COMPLEX:
            return f"its samples are complex numbers ({self})"
        if not 1 <= self.bits[0] <= 64:
            return f"its samples have {self.bits[0]} bits"
        return None

    def __str__(self) -> str:
        """Describe the samples, such as "5 bands of float64"."""
        return f"{self.bands} {'band' if self.bands == 1 else 'bands'} of {self.type_name}"

    def describe(self) -> str:
        """Describe samples, colour space and compression."""
        space = _COLOUR_SPACES.get(self.photometric, f"colour space {self.photometric}")
        return f"{self}, {space}, compression {_COMPRESSIONS.get(self.compression, self.compression)}"


def read_layout(data: bytes) -> TiffLayout | None:
    """Return the layout of a TIFF file's first page, or None if its tags do not define one."""
    tags = read_tags(data, _TAGS)

    def numbers(tag: int, *default: int) -> tuple[int, ...]:
        value = tags.get(tag, default)
        return value if isinstance(value, tuple) and value else default

    width, height = numbers(_WIDTH, 0)[0], numbers(_HEIGHT, 0)[0]
    bits = numbers(_BITS, 1)
    bands = numbers(_BANDS, len(bits))[0]
    if min(width, height, bands) < 1 or bands > 65_535:
        return None
    tile = numbers(_TILE_WIDTH, 0)[0], numbers(_TILE_HEIGHT, 0)[0]
    profile = tags.get(_PROFILE, b"")
    return TiffLayout(
        width=width,
        height=height,
        bands=bands,
        bits=_fit_to_bands(bits, bands),
        sample_formats=_fit_to_bands(numbers(_SAMPLE_FORMAT, _UNSIGNED), bands),
        photometric=numbers(_PHOTOMETRIC, WHITE_IS_ZERO)[0],
        compression=numbers(_COMPRESSION, 1)[0],
        is_planar=numbers(_PLANES, 1)[0] == _PLANAR and bands > 1,
        block=tile if min(tile) > 0 else (width, max(1, min(height, numbers(_ROWS_PER_STRIP, height)[0]))),
        extra_samples=numbers(_EXTRA_SAMPLES)[:bands],
        is_geographic=not _GEOGRAPHIC_TAGS.isdisjoint(tags),
        nodata=_read_nodata(tags.get(_NODATA)),
        # Nikon's and Sony's raw files begin with a page marked as a reduced copy, and refer to others.
        is_camera_raw=_DNG_VERSION in tags
        or data[8:11] == _CANON_RAW
        or bool(numbers(_SUBFILE_TYPE, 0)[0] & 1 and _FURTHER_PAGES in tags),
        icc_profile=profile if isinstance(profile, bytes) else bytes(value & 255 for value in profile),
    )


def find_samples_end(data: bytes) -> int:
    """Return the byte offset at which the last tile or strip of the first page ends."""
    tags = read_tags(data, {*_OFFSET_TAGS, *_LENGTH_TAGS})
    ends = [0]
    for offset_tag, length_tag in zip(_OFFSET_TAGS, _LENGTH_TAGS, strict=True):
        offsets, lengths = tags.get(offset_tag, ()), tags.get(length_tag, ())
        if isinstance(offsets, tuple) and isinstance(lengths, tuple):
            ends += [sum(pair) for pair in zip(offsets, lengths, strict=False)]
    return max(ends)


def _fit_to_bands(values: tuple[int, ...], bands: int) -> tuple[int, ...]:
    """Truncate `values` to one per band, or repeat the last one for missing bands."""
    return (*values[:bands], *values[-1:] * (bands - len(values)))


def _read_nodata(value: tuple[int, ...] | bytes | None) -> float | None:
    """Parse GDAL's nodata text, or return None if it is not a number."""
    try:
        return float(value.rstrip(b"\0 ")) if isinstance(value, bytes) else None
    except ValueError:
        return None

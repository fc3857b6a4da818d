"""Read windows of a raster at its own resolution, as the colours shown to the network and a mask of valid pixels."""

import base64
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.geometry import RGBImage
from handler.image.colour import blend_over_white, looks_like_alpha
from handler.image.sample_range import SampleRange, Samples, auto_range, sampling_step, to_eight_bits, white_value
from handler.options import FIRST_BANDS, TYPE_RANGE, ReadingOptions
from handler.strips import row_strips
from scripts.rasters.errors import RasterError
from scripts.rasters.gdal import gdal_options, gdal_path, without_georeference_warnings

Valid = npt.NDArray[np.bool_]

#: Most pixels to convert at once.
_CHUNK_PIXELS = 1 << 20
#: Columns to sample at once: as many as GDAL's cache holds of one row of tiles.
_CHUNK_COLUMNS = 8192
#: Rows and columns to sample to decide whether a band is alpha.
_ALPHA_SAMPLES = 1000
_DEFAULT_READING = ReadingOptions()
_INKS = {"cyan", "magenta", "yellow", "black"}


@dataclass(frozen=True)
class RasterOptions:
    """Which bands of a raster are shown, and which values stand for black, white and no data."""

    reading: ReadingOptions = _DEFAULT_READING
    #: The value of void pixels, `file` for the file's declared value, or None if no value is void.
    nodata: float | str | None = "file"
    #: Size of a network pixel in units of the raster's coordinate system; None for the raster's own resolution.
    resolution: float | None = None


@dataclass(frozen=True)
class SampledProperties:
    """Properties of a raster that are found by sampling all of it."""

    #: The values shown as black and white.
    limits: SampleRange
    #: Number of the alpha band, or None if there is none.
    alpha: int | None


class RasterReader:
    """An open raster. Use it as a context manager, in one thread."""

    def __init__(self, source: str, options: RasterOptions, sampled_properties: SampledProperties | None = None) -> None:
        """Open the raster and check that its bands can be shown.

        Args:
            source: a path, a URL or a name that GDAL can open.
            options: how the raster is shown.
            sampled_properties: the `sampled_properties` of an earlier reader, to avoid sampling again.

        Raises:
            RasterError: the raster cannot be opened, lacks a chosen band, or holds no colours.
        """
        import rasterio

        self.source = source
        self._options = options
        if sampled_properties:
            self.__dict__ |= {"_limits": sampled_properties.limits, "_alpha": sampled_properties.alpha}
        self._environment = rasterio.Env(**gdal_options())
        self._environment.__enter__()
        try:
            with self._reporting_errors("cannot be opened"), without_georeference_warnings():
                self.file = rasterio.open(gdal_path(source))
            self._check_bands()
        except BaseException:
            self._environment.__exit__(None, None, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the raster."""
        self.file.close()
        self._environment.__exit__(None, None, None)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in the raster's own pixels."""
        return self.file.height, self.file.width

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Height and width of a pixel on the ground, in units of the raster's coordinates, also if it is rotated."""
        a, b, _, d, e, _ = self.file.transform[:6]
        return math.hypot(b, e), math.hypot(a, d)

    @property
    def sampled_properties(self) -> SampledProperties:
        """The sampled properties, for further readers of this raster."""
        return SampledProperties(self._limits, self._alpha)

    @cached_property
    def _limits(self) -> SampleRange:
        """The values shown as black and white. With `range=auto`, the raster is read once to find them."""
        value_range = self._options.reading.range
        if value_range == TYPE_RANGE:
            return 0.0, float(self._white)
        if not isinstance(value_range, str):
            return value_range
        parts = []
        for samples, alpha, mask in self._sample_grid():
            valid = self._valid_samples(samples)
            valid &= (mask > 0) if mask is not None else True
            valid &= (alpha > 0) if alpha is not None else True
            parts.append(samples[valid])
        return auto_range(parts)

    def read(self, rows: slice, columns: slice) -> tuple[RGBImage, Valid]:
        """Read a window: its colours, uint8 h×w×3, and a mask of its valid pixels, h×w.

        Raises:
            RasterError: the file is damaged or unreachable there.
        """
        samples, alpha, mask = self._samples(rows, columns)
        if self._palette is not None:
            return self._from_palette(samples[0], mask)
        valid: Valid = np.any(self._valid_samples(samples), axis=0)
        if mask is not None:
            valid &= mask > 0
        if alpha is not None:
            valid &= alpha > 0
        height, width = valid.shape
        image = np.empty((height, width, 3), np.uint8)
        for strip in row_strips(height, width, _CHUNK_PIXELS):
            image[strip] = self._rgb(samples[:, strip], None if alpha is None else alpha[strip])
        return image, valid

    def _rgb(self, samples: Samples, alpha: Samples | None) -> RGBImage:
        colour = to_eight_bits(samples, self._limits)
        if self._zero_is_white:
            colour = 255 - colour
        opacity = None if alpha is None else to_eight_bits(alpha, (0, self._white))
        picture = Image.fromarray(colour[0] if len(colour) == 1 else np.ascontiguousarray(np.moveaxis(colour, 0, -1)))
        return blend_over_white(picture, opacity, self._profile, premultiplied=self._alpha_is_premultiplied)

    def _from_palette(self, indices: Samples, mask: Samples | None) -> tuple[RGBImage, Valid]:
        assert self._palette is not None  # noqa: S101 (for mypy)
        colours = self._palette[indices]
        valid = (colours[..., 3] > 0) & self._valid_samples(indices)
        if mask is not None:
            valid &= mask > 0
        rgb = blend_over_white(Image.fromarray(colours[..., :3]), colours[..., 3], b"", premultiplied=False)
        return rgb, valid

    def _samples(self, rows: slice, columns: slice) -> tuple[Samples, Samples | None, Samples | None]:
        """Read the shown bands, n×h×w, and alpha and the file's mask, each h×w or None if the file lacks it."""
        from rasterio.windows import Window

        window = Window.from_slices((rows.start, rows.stop), (columns.start, columns.stop))
        with self._reporting_errors(f"rows {rows.start:,} to {rows.stop:,} cannot be read"):
            samples = self.file.read([*self._bands, *([self._alpha] if self._alpha else [])], window=window)
            mask = self.file.read_masks(self._bands[0], window=window) if self._has_mask else None
        return samples[: len(self._bands)], samples[-1] if self._alpha else None, mask

    def _sample_grid(self) -> Iterator[tuple[Samples, Samples | None, Samples | None]]:
        """Yield a grid of pixels, sampled as the server samples an image."""
        height, width = self.size
        step = sampling_step(height * width)
        for left in range(0, width, _CHUNK_COLUMNS):
            columns = slice(left, min(left + _CHUNK_COLUMNS, width))
            positions = slice(-left % step, None, step)
            for row in range(0, height, step):
                samples, alpha, mask = self._samples(slice(row, row + 1), columns)
                yield (
                    samples[..., positions],
                    None if alpha is None else alpha[..., positions],
                    None if mask is None else mask[..., positions],
                )

    def _valid_samples(self, samples: Samples) -> Valid:
        """Return which samples, n×h×w or h×w, are neither nodata nor NaN."""
        valid = np.ones(samples.shape, np.bool_)
        if samples.dtype.kind == "f":
            valid &= ~np.isnan(samples)
        values = self._nodata if samples.ndim == 3 else self._nodata[:1]
        for band, value in enumerate(values):
            if value is None or math.isnan(value):
                continue
            part = (samples[band], valid[band]) if samples.ndim == 3 else (samples, valid)
            part[1][part[0] == _convert_nodata(value, samples.dtype)] = False
        return valid

    def _check_bands(self) -> None:
        bands, file = self._options.reading.bands, self.file
        if not file.count:
            raise RasterError(f"{self.source}: holds only subdatasets; name one of {', '.join(file.subdatasets[:3])}")
        if not isinstance(bands, str) and max(bands) > file.count:
            raise RasterError(f"{self.source}: option 'bands': there is no band {max(bands)}; the raster has {file.count}")
        if any(np.dtype(file.dtypes[band - 1]).kind == "c" for band in self._bands):
            raise RasterError(f"{self.source}: its samples are complex numbers, should be whole numbers or floats")
        if isinstance(bands, str) and _INKS & {file.colorinterp[band - 1].name for band in self._bands}:
            raise RasterError(f"{self.source}: its bands are inks (CMYK), should be grey or RGB; convert it, or choose 'bands'")

    @cached_property
    def _bands(self) -> tuple[int, ...]:
        if not isinstance(self._options.reading.bands, str):
            return self._options.reading.bands
        colours = [band for band in range(1, self.file.count + 1) if self.file.colorinterp[band - 1].name != "alpha"]
        return tuple(colours[:3] if len(colours) >= 3 else colours[:1] or [1])

    @cached_property
    def _tagged_alpha(self) -> int | None:
        names = [interpretation.name for interpretation in self.file.colorinterp]
        return names.index("alpha") + 1 if "alpha" in names and names.index("alpha") + 1 not in self._bands else None

    @cached_property
    def _alpha(self) -> int | None:
        """The alpha band, verified by its values, since any fourth band, such as near infrared, may be tagged as alpha."""
        band = self._tagged_alpha
        if band is None or self._alpha_is_premultiplied:
            return band
        with self._reporting_errors("its alpha cannot be read"):
            # From overviews if there are any; nearest pixels rather than means.
            values = self.file.read(band, out_shape=tuple(min(length, _ALPHA_SAMPLES) for length in self.size))
        return band if looks_like_alpha(values, self._white) else None

    @cached_property
    def _alpha_is_premultiplied(self) -> bool:
        band = self._tagged_alpha
        return band is not None and self._structure(band).get("ALPHA") == "PREMULTIPLIED"

    @cached_property
    def _has_mask(self) -> bool:
        """Whether the file has an internal or external mask, apart from nodata and alpha."""
        flags = {flag.name for flag in self.file.mask_flag_enums[self._bands[0] - 1]}
        return ("per_dataset" in flags and "alpha" not in flags) or not flags

    @cached_property
    def _nodata(self) -> tuple[float | None, ...]:
        value = self._options.nodata
        if value == "file":
            return tuple(self.file.nodatavals[band - 1] for band in self._bands)
        return (None if value is None else float(value),) * len(self._bands)

    @cached_property
    def _white(self) -> int:
        kind = np.dtype(self.file.dtypes[self._bands[0] - 1])
        bits = int(self._structure(self._bands[0]).get("NBITS", 8 * kind.itemsize))
        return white_value(bits, signed=kind.kind == "i", is_float=kind.kind == "f")

    @cached_property
    def _palette(self) -> npt.NDArray[np.uint8] | None:
        """The colours for a single band of indices, RGBA by index, or None if values are not indices."""
        reading, file = self._options.reading, self.file
        uses_defaults = reading.bands == FIRST_BANDS and reading.range == TYPE_RANGE
        if not uses_defaults or file.colorinterp[self._bands[0] - 1].name != "palette":
            return None
        with self._reporting_errors("its colour table cannot be read"):
            table = file.colormap(self._bands[0])
        colours = np.zeros((1 << 8 * np.dtype(file.dtypes[self._bands[0] - 1]).itemsize, 4), np.uint8)
        for index, colour in table.items():
            colours[index] = colour
        return colours

    @cached_property
    def _zero_is_white(self) -> bool:
        return self._structure(self._bands[0]).get("MINISWHITE") == "YES" or self._structure().get("MINISWHITE") == "YES"

    @cached_property
    def _profile(self) -> bytes:
        """The ICC profile, which only applies to the default bands and range."""
        reading = self._options.reading
        if reading.bands != FIRST_BANDS or reading.range != TYPE_RANGE:
            return b""
        return base64.b64decode(self.file.tags(ns="COLOR_PROFILE").get("SOURCE_ICC_PROFILE", ""))

    def _structure(self, band: int = 0) -> dict[str, str]:
        tags: dict[str, str] = self.file.tags(band, ns="IMAGE_STRUCTURE")
        return tags

    @contextmanager
    def _reporting_errors(self, problem: str) -> Iterator[None]:
        """Convert rasterio's errors in the block to `RasterError`. The block should only contain calls to rasterio."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            cause: Any = error.__cause__ or error
            raise RasterError(f"{self.source}: {problem}: {cause}") from error


def _convert_nodata(value: float, dtype: np.dtype[Any]) -> Any:
    """Return a nodata value converted to `dtype`, or NaN, which matches no sample, if `dtype` cannot hold it."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(value)
    bounds = np.iinfo(dtype)
    return dtype.type(int(value)) if value.is_integer() and bounds.min <= value <= bounds.max else math.nan

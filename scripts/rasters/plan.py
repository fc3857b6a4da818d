"""How a raster is divided: windows for the network, and blocks of windows that are computed and written together."""

import math
from dataclasses import dataclass

from handler.options import InferenceOptions
from model.metadata import ResizePolicy
from scripts.rasters.errors import RasterError
from scripts.rasters.layout import MIN_OVERLAP, Side
from scripts.rasters.reading import RasterOptions, RasterReader, SampledProperties
from scripts.rasters.resampling import Resampling

#: Greatest ratio between the raster's resolution and the network's, either way.
MAX_RESAMPLING = 8
#: Approximate number of raster pixels in a block. With polygons, a block takes 300 to 400 MB; blocks three times as large take
#: twice the memory, and are no faster.
_BLOCK_PIXELS = 8_000_000
#: The range of window sizes, as for a checkpoint's resize policy.
MIN_WINDOW, MAX_WINDOW = 64, 4096


@dataclass(frozen=True)
class WindowOptions:
    """Window sizes in network pixels; None for the model's choice."""

    window: int | None = None
    overlap: int | None = None


@dataclass(frozen=True)
class RasterPlan:
    """Everything that determines a raster's result, besides the model."""

    source: str
    options: RasterOptions
    sampled_properties: SampledProperties
    rows: Side
    columns: Side
    inference: InferenceOptions
    #: Tolerance of polygons, in pixels; None for no polygons.
    tolerance: float | None

    @property
    def samplings(self) -> tuple[Resampling, Resampling]:
        """How rows and columns are resampled for the network."""
        rows, columns = (Resampling(side.pixels, side.network_pixels) for side in (self.rows, self.columns))
        return rows, columns


@dataclass(frozen=True)
class BlockTask:
    """A block of a raster: the unit of work."""

    plan: RasterPlan
    #: Position among the raster's blocks, by row and column.
    place: tuple[int, int]
    #: The first row and the row after the last, and the same for columns.
    row_range: tuple[int, int]
    column_range: tuple[int, int]

    @property
    def area(self) -> tuple[slice, slice]:
        """The block's rows and columns."""
        return slice(*self.row_range), slice(*self.column_range)


def make_plan(
    reader: RasterReader,
    options: RasterOptions,
    policy: ResizePolicy,
    inference: InferenceOptions,
    window_options: WindowOptions,
    tolerance: float | None,
) -> RasterPlan:
    """Cover a raster with windows.

    Windows are squares of the size to which the checkpoint's policy resizes images, rounded up to its multiple. One pixel of a
    window is one pixel of the network's input.

    Raises:
        RasterError: the resolution is too far from the raster's, or the overlap does not fit the window.
    """
    window = -(-(window_options.window or policy.size) // policy.multiple) * policy.multiple
    overlap = window // 4 if window_options.overlap is None else window_options.overlap
    if not MIN_OVERLAP <= overlap <= window // 3:
        raise RasterError(f"overlap {overlap}: must be from {MIN_OVERLAP} to {window // 3}, a third of the window")
    lengths = zip(reader.size, _network_size(reader, options.resolution), strict=True)
    rows, columns = (Side.cover(pixels, network_pixels, window, overlap) for pixels, network_pixels in lengths)
    return RasterPlan(reader.source, options, reader.sampled_properties, rows, columns, inference, tolerance)


def list_blocks(plan: RasterPlan) -> list[BlockTask]:
    """List a raster's blocks, row by row."""
    step = plan.rows.window - plan.rows.overlap, plan.columns.window - plan.columns.overlap
    area = math.prod(length * sampling.ratio for length, sampling in zip(step, plan.samplings, strict=True))
    windows = max(2, round(math.sqrt(_BLOCK_PIXELS / max(area, 1))))
    return [
        BlockTask(plan, (row, column), (rows.start, rows.stop), (columns.start, columns.stop))
        for row, rows in enumerate(plan.rows.blocks(windows))
        for column, columns in enumerate(plan.columns.blocks(windows))
    ]


def _network_size(reader: RasterReader, resolution: float | None) -> tuple[int, int]:
    """Return the height and width of the whole raster in network pixels."""
    if resolution is None:
        return reader.size
    height, width = (
        max(1, round(pixels * size / resolution)) for pixels, size in zip(reader.size, reader.pixel_size, strict=True)
    )
    for size in reader.pixel_size:
        if not 1 / MAX_RESAMPLING <= resolution / size <= MAX_RESAMPLING:
            raise RasterError(
                f"{reader.source}: resolution {resolution:g}: the raster's pixels measure {size:g}; must be from "
                f"{size / MAX_RESAMPLING:g} to {size * MAX_RESAMPLING:g}, or resample the raster first (gdalwarp -tr)"
            )
    return height, width

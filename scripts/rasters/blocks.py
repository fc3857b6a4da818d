"""Segment one block of a raster: read → resample → network → blend. Blocks are independent of each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handler.geometry import DecodedImage, RGBImage
from handler.labels import Labels
from handler.masks.label_map import LabelMap, calibrate, softmax
from handler.network.views import View, ViewPlan, infer_views, mean_probabilities
from handler.pipeline import Pipeline
from handler.stages import ignore
from scripts.rasters.blending import Windows, WindowScores, blend_region
from scripts.rasters.layout import Stretch
from scripts.rasters.pieces import Pieces, trace_pieces
from scripts.rasters.plan import BlockTask, RasterPlan
from scripts.rasters.reading import RasterReader
from scripts.rasters.resampling import resample

#: Most pixels of the raster to read at once.
_CHUNK_PIXELS = 1 << 22


@dataclass(frozen=True)
class Block:
    """A segmented block."""

    #: Class indices, h×w; `void_index` where the raster has no data.
    labels: LabelMap
    #: Probabilities of the labels times 255, uint8 h×w; 0 where the raster has no data.
    confidence: npt.NDArray[np.uint8]
    #: The block's polygons, or None if they are not requested.
    pieces: Pieces | None


def label_type(classes: int) -> np.dtype[np.unsignedinteger]:
    """Return the type of labels, which can hold `classes` indices and the void label."""
    return np.dtype(np.uint8) if classes <= 255 else np.dtype(np.uint16)


def void_index(classes: int) -> int:
    """Return the label of pixels without data: the greatest value of `label_type`."""
    return int(np.iinfo(label_type(classes)).max)


def segment_block(task: BlockTask, pipeline: Pipeline, reader: RasterReader) -> Block:
    """Segment one block.

    Raises:
        RasterError: the raster is damaged or unreachable there.
        EngineFault: the network fails.
    """
    plan, void = task.plan, void_index(len(pipeline.labels.names))
    # A border of one pixel shows where neighbouring blocks' polygons have corners.
    outer = _widen(task.area[0], plan.rows.pixels), _widen(task.area[1], plan.columns.pixels)
    shape = tuple(part.stop - part.start for part in outer)
    labels = np.full(shape, void, label_type(len(pipeline.labels.names)))
    confidence = np.zeros(shape, np.uint8)
    scanner = _Scanner(plan, pipeline, reader, outer)
    for stretches, windows in scanner.regions():
        blended = blend_region(windows, (plan.rows, plan.columns), stretches, labels.dtype)
        if blended is not None:
            target = _relative_to(stretches[0].pixels, outer[0]), _relative_to(stretches[1].pixels, outer[1])
            labels[target], confidence[target] = blended
    labels[~scanner.valid] = void
    confidence[~scanner.valid] = 0
    inner = _relative_to(task.area[0], outer[0]), _relative_to(task.area[1], outer[1])
    pieces = None
    if plan.tolerance is not None:
        omitted = _omitted_labels(pipeline.labels, void)
        pieces = trace_pieces(labels, confidence[inner], inner, task.area, plan.tolerance, omitted)
    return Block(labels[inner], confidence[inner], pieces)


class _Scanner:
    """Runs the network over a block's windows, row by row, keeping at most two rows."""

    def __init__(self, plan: RasterPlan, pipeline: Pipeline, reader: RasterReader, area: tuple[slice, slice]) -> None:
        self._plan = plan
        self._pipeline = pipeline
        self._reader = reader
        self._area = area
        self._across = list(plan.columns.stretches(area[1]))
        self._columns = sorted({window for stretch in self._across for window in stretch.windows})
        #: Pixels of `area` for which the raster has data; complete after `regions`.
        self.valid = np.zeros([part.stop - part.start for part in area], np.bool_)

    def regions(self) -> Iterator[tuple[tuple[Stretch, Stretch], Windows]]:
        """Yield every region labelled by the same windows, with the scores of at least those windows."""
        windows: dict[tuple[int, int], WindowScores | None] = {}
        for down in self._plan.rows.stretches(self._area[0]):
            windows = {place: scores for place, scores in windows.items() if place[0] in down.windows}
            for row in down.windows:
                if (row, self._columns[0]) not in windows:
                    windows |= self._scan(row)
            for across in self._across:
                yield (down, across), windows

    def _scan(self, row: int) -> dict[tuple[int, int], WindowScores | None]:
        """Run the network on one row of windows."""
        rows, columns = self._plan.rows, self._plan.columns
        left = columns.starts[self._columns[0]]
        slices = {
            column: slice(columns.starts[column] - left, columns.starts[column] - left + columns.window)
            for column in self._columns
        }
        down = slice(rows.starts[row], rows.starts[row] + rows.window)
        image, valid_columns = self._read_rows(down, slice(left, left + slices[self._columns[-1]].stop), slices)
        windows: dict[tuple[int, int], WindowScores | None] = dict.fromkeys(((row, column) for column in self._columns), None)
        inferred_columns = [column for column in self._columns if column in valid_columns]
        batch_size = max(1, self._pipeline.engine.max_batch)
        for start in range(0, len(inferred_columns), batch_size):
            batch = inferred_columns[start : start + batch_size]
            scores = self._infer([image[:, slices[column]] for column in batch])
            windows |= {(row, column): values for column, values in zip(batch, scores, strict=True)}
        return windows

    def _infer(self, images: Sequence[RGBImage]) -> list[WindowScores]:
        """Run the network on windows as the pipeline does on images, but without resizing."""
        height, width = images[0].shape[:2]
        policy = self._pipeline.metadata.resize.model_copy(update={"side": "long", "size": max(height, width)})
        plan = ViewPlan.for_image((height, width), policy, self._plan.inference)
        views = [plan.make_views(DecodedImage.from_pixels(image)) for image in images]
        logits = iter(infer_views([view for members in views for view in members], self._pipeline.engine, ignore))
        temperature = self._pipeline.metadata.temperature
        return [_scores(members, [next(logits) for _ in members], temperature) for members in views]

    def _read_rows(self, down: slice, across: slice, slices: dict[int, slice]) -> tuple[RGBImage, set[int]]:
        """Read rows and columns in network pixels; also return which of the windows at `slices` in them have any data."""
        rows, columns = self._plan.samplings
        source_columns = columns.sources(across)
        lines = max(1, int(_CHUNK_PIXELS / rows.ratio / (source_columns.stop - source_columns.start)))
        image = np.empty((down.stop - down.start, across.stop - across.start, 3), np.uint8)
        valid_columns: set[int] = set()
        for top in range(down.start, down.stop, lines):
            part = slice(top, min(top + lines, down.stop))
            source_rows = rows.sources(part)
            pixels, valid = self._reader.read(source_rows, source_columns)
            self._update_valid(valid, source_rows, source_columns)
            for column, window in slices.items():
                window_sources = columns.sources(slice(window.start + across.start, window.stop + across.start))
                if column not in valid_columns and valid[:, _relative_to(window_sources, source_columns)].any():
                    valid_columns.add(column)
            image[_relative_to(part, down)] = resample(pixels, rows, columns, (part, across))
        return image, valid_columns

    def _update_valid(self, valid: npt.NDArray[np.bool_], rows: slice, columns: slice) -> None:
        overlap = [
            slice(max(side.start, area.start), min(side.stop, area.stop))
            for side, area in zip((rows, columns), self._area, strict=True)
        ]
        if all(part.start < part.stop for part in overlap):
            target = tuple(_relative_to(part, area) for part, area in zip(overlap, self._area, strict=True))
            source = _relative_to(overlap[0], rows), _relative_to(overlap[1], columns)
            self.valid[target] = valid[source]


def _scores(views: Sequence[View], logits: Sequence[npt.NDArray[np.float32]], temperature: float) -> WindowScores:
    """Choose the scores to interpolate, as the pipeline does: logits of a single view, mean probabilities of several."""
    if len(views) == 1:
        return WindowScores(logits[0], softmax(logits[0], temperature))
    probabilities = mean_probabilities(views, logits)
    return WindowScores(probabilities, calibrate(probabilities, temperature))


def _omitted_labels(labels: Labels, void: int) -> tuple[int, ...]:
    return (void,) if labels.background is None else (void, labels.background)


def _widen(part: slice, length: int) -> slice:
    return slice(max(0, part.start - 1), min(length, part.stop + 1))


def _relative_to(part: slice, origin: slice) -> slice:
    """Return `part` relative to the start of `origin`."""
    return slice(part.start - origin.start, part.stop - origin.start)

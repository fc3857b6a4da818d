"""Small rasters, a model that labels by colour, and an executor in this process."""

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import from_origin

from handler.options import InferenceOptions, ModelIdentity
from handler.pipeline import Pipeline
from scripts.bulk.executors.base import Done, Lost, Result, Task
from scripts.rasters.model_card import ModelCard
from scripts.rasters.plan import BlockTask
from scripts.rasters.run import RasterJob, RasterReport, segment_raster
from scripts.rasters.worker import BlockFault, BlockWorker
from tests.engines import MirrorEngine, build_pipeline

VOID = 255
#: Cuts small rasters into several blocks.
SMALL_BLOCKS = patch("scripts.rasters.plan._BLOCK_PIXELS", 6_000)
UTM = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 0.5, 0.5)}


class InProcessExecutor:
    """Segments blocks one after the other, and is interrupted after `max_blocks` of them."""

    def __init__(self, max_blocks: int | None = None) -> None:
        self.done = 0
        self._max_blocks = max_blocks

    def run(
        self, prepare: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task]
    ) -> Generator[Done[Task, Result] | Lost[Task], None, None]:
        work = prepare()
        for task in tasks:
            if self.done == self._max_blocks:
                raise KeyboardInterrupt
            yield Done(task, work(task))
            self.done += 1


def card(pipeline: Pipeline | None = None) -> ModelCard:
    """Return the description of the model loaded by `prepare`."""
    pipeline = pipeline or build_pipeline(MirrorEngine())
    return ModelCard(ModelIdentity("m", "1"), pipeline.labels, pipeline.metadata.resize, InferenceOptions(), "digest")


def prepare(pipeline: Pipeline | None = None) -> Callable[[], Callable[[BlockTask], bytes | BlockFault]]:
    """Return the preparation with which a process can segment blocks by their colours."""
    return lambda: BlockWorker(pipeline or build_pipeline(MirrorEngine()))


def segment(job: RasterJob, executor: InProcessExecutor | None = None, pipeline: Pipeline | None = None) -> RasterReport:
    """Segment a raster by its colours: 0 background where red wins, 1 cat for green, 2 dog for blue."""
    pipeline = pipeline or build_pipeline(MirrorEngine())
    return segment_raster(job, card(pipeline), prepare(pipeline), executor or InProcessExecutor(), visible=False)


def write_raster(path: Path, bands: npt.NDArray[Any], **profile: Any) -> str:
    """Write bands n×h×w as a GeoTIFF, in UTM unless `profile` overrides it; return its path."""
    count, height, width = bands.shape
    creation_options = {"count": count, "height": height, "width": width, "dtype": bands.dtype.name, **UTM, **profile}
    with rasterio.open(path, "w", driver="GTiff", **creation_options) as file:
        file.write(bands)
    return str(path)


def colours(height: int, width: int, seed: int = 0, patch: int = 5) -> npt.NDArray[np.uint8]:
    """Make patches of random colours, 3×h×w uint8."""
    patches = np.random.default_rng(seed).integers(1, 256, (3, -(-height // patch), -(-width // patch)), np.uint8)
    return np.repeat(np.repeat(patches, patch, 1), patch, 2)[:, :height, :width]


def read(path: Path) -> npt.NDArray[Any]:
    """Return the first band of a raster."""
    with rasterio.open(path) as file:
        band: npt.NDArray[Any] = file.read(1)
        return band

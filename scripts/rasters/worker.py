"""The work of each process in an executor: load the model once, then segment blocks."""

from dataclasses import dataclass

from handler.pipeline import Pipeline
from scripts.bulk.executors.model_source import ModelSource
from scripts.rasters.blocks import segment_block
from scripts.rasters.errors import RasterError
from scripts.rasters.parts import encode_block
from scripts.rasters.plan import BlockTask, RasterPlan
from scripts.rasters.reading import RasterReader


@dataclass(frozen=True)
class BlockFault:
    """The reason why a block could not be segmented."""

    reason: str


@dataclass(frozen=True)
class PrepareBlocks:
    """Prepares a process to segment blocks; `Executor.run` calls it once in each."""

    model: ModelSource

    def __call__(self) -> "BlockWorker":
        """Load the model; raise the same errors as `ModelSource.load`."""
        return BlockWorker(self.model.load())


class BlockWorker:
    """Segments blocks one after another; the last block's raster stays open."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Store the loaded model."""
        self._pipeline = pipeline
        self._plan: RasterPlan | None = None
        self._reader: RasterReader | None = None

    def __call__(self, task: BlockTask) -> bytes | BlockFault:
        """Return the encoded block, or what is wrong with the raster there."""
        try:
            return encode_block(segment_block(task, self._pipeline, self._open(task.plan)))
        except RasterError as error:
            return BlockFault(str(error))

    def _open(self, plan: RasterPlan) -> RasterReader:
        if self._reader is None or self._plan != plan:
            self.close()
            self._reader = RasterReader(plan.source, plan.options, plan.sampled_properties)
            self._plan = plan
        return self._reader

    def close(self) -> None:
        """Close the open raster, if any."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

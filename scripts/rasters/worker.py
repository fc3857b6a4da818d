"""What each process of an executor does: load the model once, then segment blocks."""

from collections.abc import Callable
from dataclasses import dataclass

from handler.image.process import prepare_process
from handler.pipeline import Pipeline
from handler.segmenter import Segmenter
from scripts.rasters.blocks import segment_block
from scripts.rasters.errors import RasterError
from scripts.rasters.parts import encode_block
from scripts.rasters.plan import BlockTask, RasterPlan
from scripts.rasters.reading import RasterReader


@dataclass(frozen=True)
class BlockFault:
    """Why a block could not be segmented."""

    reason: str


@dataclass(frozen=True)
class LoadModel:
    """Loads a model archive or checkpoint in a process and segments blocks with it; can be pickled."""

    path: str
    #: Settings that replace the archive's, as `Segmenter.load` has them, by name.
    settings: tuple[tuple[str, object], ...] = ()

    def __call__(self) -> Callable[[BlockTask], bytes | BlockFault]:
        """Load the model.

        Raises:
            ConfigurationError: the file is no model, or a setting is wrong.
            CheckpointError: the checkpoint cannot be used.
        """
        prepare_process()
        return BlockWorker(Segmenter.load(self.path, **dict(self.settings)))


class BlockWorker:
    """Segments blocks, one after the other; the raster of the last one stays open."""

    def __init__(self, model: Segmenter | Pipeline) -> None:
        """Use a loaded model."""
        self._model = model  # A segmenter removes the files of its archive when it is no longer held.
        self._pipeline = model.pipeline if isinstance(model, Segmenter) else model
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
            self._reader = RasterReader(plan.source, plan.options, plan.shown)
            self._plan = plan
        return self._reader

    def close(self) -> None:
        """Close the raster that is open."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

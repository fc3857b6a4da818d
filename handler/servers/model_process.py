"""What a process that serves one model does, whatever server it belongs to."""

import gc
import logging
from collections.abc import Sequence

import torch

from handler.allocator import return_large_blocks, trim_heap
from handler.application import Application, Call
from handler.archive import ModelArchive
from handler.idle import IdleTask
from handler.image.process import prepare_process
from handler.request.protocols import Reply
from handler.stages import Observer, ignore

logger = logging.getLogger(__name__)


class ServedModel:
    """A loaded model that gives back memory whenever it has come to rest. Several threads may call it at once."""

    def __init__(self, archive: ModelArchive, *, gpu_id: int | None = None) -> None:
        """Prepare the whole process, then load and warm up the model.

        Args:
            archive: the extracted archive.
            gpu_id: the GPU to run on; None: the CPU.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the settings cannot be used.
            RefinementUnavailable: the settings refine by default, and the package for it is not installed.
        """
        return_large_blocks()
        prepare_process()
        self.application = Application.load(archive, gpu_id=gpu_id)
        engine, metadata = self.application.pipeline.engine, self.application.pipeline.metadata
        if engine.name == "openvino":
            # It has threads of its own; torch's, which resize images for it, would keep spinning beside them.
            torch.set_num_threads(1)
        # What is loaded stays; looking through it would stop every thread for 130 ms at each release of memory.
        gc.freeze()
        self._memory_release = IdleTask(self._release_memory)
        logger.info("ready: %s by %s in %s", metadata.model, engine.name, engine.precision)

    def answer(self, calls: Sequence[Call], observe: Observer = ignore) -> list[Reply]:
        """Reply to each of `calls`, as `Application.answer` does."""
        with self._memory_release.work():
            return self.application.answer(calls, observe)

    def _release_memory(self) -> None:
        self.application.release_memory()
        gc.collect()
        trim_heap()

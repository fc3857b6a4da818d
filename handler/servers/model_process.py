"""The part of a model-serving process that every server shares: load the model, answer calls, release memory."""

import gc
import logging
import os
import threading
from collections.abc import Sequence

from handler import aten
from handler.allocator import configure_malloc, trim_heap
from handler.application import Application, Call
from handler.archive import ModelArchive, read_reference
from handler.idle import IdleTask
from handler.image.process import prepare_process
from handler.network.engines.archive import archived_agreement
from handler.pipeline import Pipeline
from handler.profile import Profile
from handler.request.protocols import Reply
from handler.stages import Observer, ignore

logger = logging.getLogger(__name__)


class ServedModel:
    """A loaded model that releases memory when idle. Safe to call from several threads at once."""

    def __init__(self, archive: ModelArchive, *, gpu_id: int | None = None) -> None:
        """Prepare the whole process, then load and warm up the model.

        Args:
            archive: the extracted archive.
            gpu_id: the GPU to run on, or None for the CPU.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the settings cannot be used.
            RefinementUnavailable: the settings refine by default, but the package for it is not installed.
        """
        configure_malloc()
        prepare_process()
        # In parallel with loading the engine, which takes about as long.
        threading.Thread(target=aten.load, name="load PyTorch's library").start()
        self.application = Application.load(archive, gpu_id=gpu_id)
        engine, metadata = self.application.pipeline.engine, self.application.pipeline.metadata
        if engine.name == "openvino":
            # OpenVINO has its own threads; torch's, which resize images for it, would compete with them by spinning.
            aten.set_threads(1)
            # Explanations run on torch, which would cache kernels for each image size: 1.5 MB a size, up to 1024 kernels.
            # Rebuilding them costs 4 % of an explanation's time.
            os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")
        # Everything loaded so far stays; scanning it would stop every thread for 130 ms at each release of memory.
        gc.freeze()
        self._memory_release = IdleTask(self._release_memory)
        logger.info("ready: %s on %s in %s", metadata.model, engine.name, engine.precision)

    def answer(self, calls: Sequence[Call], observe: Observer = ignore) -> list[Reply]:
        """Return a reply to each call; see `Application.answer`."""
        with self._memory_release.work():
            return self.application.answer(calls, observe)

    def _release_memory(self) -> None:
        self.application.release_memory()
        gc.collect()
        trim_heap()


def read_profile(archive: ModelArchive, pipeline: Pipeline) -> Profile:
    """Return what the metrics need to know about `archive`, loaded as `pipeline`.

    Raises:
        ConfigurationError: the archive's drift reference cannot be used.
    """
    name, precision, classes = pipeline.engine.name, pipeline.engine.precision, pipeline.labels.names
    agreement = archived_agreement(archive.folder)
    fractions = {
        (entry.engine, entry.precision): (entry.equal_labels, entry.required)
        for entry in (agreement.engines if agreement else ())
    }
    reference = read_reference(archive.folder, len(classes))
    return Profile(classes, name, precision, fractions.get((name, precision)), reference)

"""Decode, prepare, infer, label, encode: from requests to answers. Knows nothing of how they travel."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from handler.encoders import FORMATS, EncodedResponse, ModelIdentity
from handler.engines import Engine, EngineOptions, build_engine
from handler.errors import ResponseTooLarge, SegmentationError, attempt
from handler.geometry import PreparedImage, RGBImage, prepare
from handler.image_io import decode_image
from handler.inference import batches, infer
from handler.labelmap import Segmentation, segmentation
from handler.labels import Labels
from handler.request import SegmentationRequest
from handler.settings import HandlerSettings, Limits
from model.checkpoint import load_checkpoint
from model.metadata import CheckpointMetadata

#: Called with a stage's name and its seconds.
Observer = Callable[[str, float], None]
Outcome = EncodedResponse | SegmentationError

_WARM_UP_SIZES = ((480, 640), (640, 480))


def _ignore(stage: str, seconds: float) -> None:
    pass


class Pipeline:
    """One model, ready to answer requests."""

    def __init__(self, engine: Engine, metadata: CheckpointMetadata, identity: ModelIdentity, limits: Limits) -> None:
        self.metadata = metadata
        self.labels = Labels.from_metadata(metadata)
        self._engine = engine
        self._identity = identity
        self._limits = limits

    @classmethod
    def load(
        cls, checkpoint: Path, settings: HandlerSettings, identity: ModelIdentity, *, gpu_id: int | None = None
    ) -> "Pipeline":
        """Read the checkpoint and build the engine that `settings` name.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the settings cannot.
        """
        loaded = load_checkpoint(checkpoint)
        loaded.network.drop_auxiliary_head()
        engine = build_engine(settings.engine, loaded, EngineOptions(settings.threads, gpu_id))
        return cls(engine, loaded.metadata, identity, settings.limits)

    def warm_up(self) -> None:
        """Run the network once in each common orientation, so that no client waits for the first run's allocations."""
        for height, width in _WARM_UP_SIZES:
            self.segment(np.zeros((height, width, 3), np.uint8))

    def segment(self, image: RGBImage) -> Segmentation:
        """Segment one upright RGB image, uint8 H×W×3."""
        (logits,) = infer([prepare(image, self.metadata.resize)], self._engine)
        return segmentation(image, logits, self.labels)

    def answer(self, requests: Sequence[SegmentationRequest], observe: Observer = _ignore) -> list[Outcome]:
        """Answer each request by a response or an error of its own; none touches its neighbours."""
        decoded = [attempt(self._decode, request, observe) for request in requests]
        outcomes: dict[int, Outcome] = {i: image for i, image in enumerate(decoded) if isinstance(image, SegmentationError)}
        ready = {i: image for i, image in enumerate(decoded) if not isinstance(image, SegmentationError)}
        for members in batches({index: prepared for index, (_, prepared) in ready.items()}, self._engine.max_batch):
            logits = attempt(self._infer, [ready[index][1] for index in members], observe)
            for position, index in enumerate(members):
                if isinstance(logits, SegmentationError):
                    outcomes[index] = logits
                else:
                    outcomes[index] = attempt(self._finish, ready[index][0], logits[position], requests[index], observe)
        return [outcomes[index] for index in range(len(requests))]

    def _decode(self, request: SegmentationRequest, observe: Observer) -> tuple[RGBImage, PreparedImage]:
        with _timed("decode", observe):
            image = decode_image(request.image, self._limits)
        with _timed("prepare", observe):
            return image, prepare(image, self.metadata.resize)

    def _infer(self, images: Sequence[PreparedImage], observe: Observer) -> list[npt.NDArray[np.float32]]:
        with _timed("network", observe):
            return infer(images, self._engine)

    def _finish(
        self, image: RGBImage, logits: npt.NDArray[np.float32], request: SegmentationRequest, observe: Observer
    ) -> EncodedResponse:
        with _timed("label", observe):
            result = segmentation(image, logits, self.labels)
        with _timed("encode", observe):
            return self._encode(result, request)

    def _encode(self, result: Segmentation, request: SegmentationRequest) -> EncodedResponse:
        response = FORMATS[request.format].encode(result, self._identity)
        size, limit = len(response.body), self._limits.max_response_bytes
        if size > limit:
            raise ResponseTooLarge(f"the answer as {request.format!r} has {size:,} bytes, the limit is {limit:,}")
        return response


@contextmanager
def _timed(stage: str, observe: Observer) -> Iterator[None]:
    start = time.perf_counter()
    yield
    observe(stage, time.perf_counter() - start)

"""Decode, prepare, infer, label, encode: from requests to answers. Knows nothing of how they travel."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from handler.encoders import FORMATS, EncodedResponse, ModelIdentity
from handler.engines import Engine, EngineOptions, build_engine
from handler.errors import InternalError, ResponseTooLarge, SegmentationError
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
        outcomes: list[Outcome | None] = [None] * len(requests)
        images: dict[int, RGBImage] = {}
        prepared: dict[int, PreparedImage] = {}
        for index, request in enumerate(requests):
            with _captured(outcomes, index):
                with _timed("decode", observe):
                    images[index] = decode_image(request.image, self._limits)
                with _timed("prepare", observe):
                    prepared[index] = prepare(images[index], self.metadata.resize)
        ready = list(prepared)
        for batch in batches([prepared[index] for index in ready], self._engine.max_batch):
            members = [ready[position] for position in batch]
            with _captured(outcomes, *members), _timed("network", observe):
                logits = infer([prepared[index] for index in members], self._engine)
            for index, values in zip(members, logits if outcomes[members[0]] is None else (), strict=False):
                with _captured(outcomes, index):
                    with _timed("label", observe):
                        result = segmentation(images.pop(index), values, self.labels)
                    with _timed("encode", observe):
                        outcomes[index] = self._encode(result, requests[index])
        return [outcome or InternalError("no answer was made") for outcome in outcomes]

    def _encode(self, result: Segmentation, request: SegmentationRequest) -> EncodedResponse:
        response = FORMATS[request.format].encode(result, self._identity)
        size, limit = len(response.body), self._limits.max_response_bytes
        if size > limit:
            raise ResponseTooLarge(f"the answer as {request.format!r} has {size:,} bytes, the limit is {limit:,}")
        return response


@contextmanager
def _captured(outcomes: list[Outcome | None], *indices: int) -> Iterator[None]:
    """Make whatever goes wrong inside the outcome of these requests, and of no other."""
    try:
        yield
    except SegmentationError as error:
        for index in indices:
            outcomes[index] = error
    except Exception as error:
        fault = InternalError("the server failed to answer this request")
        fault.__cause__ = error
        for index in indices:
            outcomes[index] = fault


@contextmanager
def _timed(stage: str, observe: Observer) -> Iterator[None]:
    start = time.perf_counter()
    yield
    observe(stage, time.perf_counter() - start)

"""Decode, prepare, infer, label, encode: from requests to answers. Knows nothing of how they travel."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from handler.encoders import FORMATS, EncodedResponse, ModelIdentity
from handler.engines import Engine, EngineOptions, build_engine
from handler.errors import InferenceTooLarge, ResponseTooLarge, SegmentationError, attempt
from handler.geometry import RGBImage, Size, network_size, prepare
from handler.image_io import decode_image
from handler.inference import View, batches, infer, mean_probabilities, network_pixels, views
from handler.labelmap import Segmentation, segmentation, segmentation_by_probability
from handler.labels import Labels
from handler.options import InferenceOptions
from handler.refine import RefinementReport, dense_crf, require_crf
from handler.request import SegmentationRequest
from handler.settings import HandlerSettings, InferenceSettings, Limits
from model.checkpoint import load_checkpoint
from model.metadata import CheckpointMetadata

#: Called with a stage's name and its seconds.
Observer = Callable[[str, float], None]
Outcome = EncodedResponse | SegmentationError
Logits = npt.NDArray[np.float32]

_DEFAULT_INFERENCE = InferenceSettings()
_WARM_UP_SIZES = ((480, 640), (640, 480))


def _ignore(stage: str, seconds: float) -> None:
    pass


class Pipeline:
    """One model, ready to answer requests."""

    def __init__(
        self,
        engine: Engine,
        metadata: CheckpointMetadata,
        identity: ModelIdentity,
        limits: Limits,
        inference: InferenceSettings = _DEFAULT_INFERENCE,
    ) -> None:
        self.metadata = metadata
        self.labels = Labels.from_metadata(metadata)
        self._engine = engine
        self._identity = identity
        self._limits = limits
        self._inference = inference

    @classmethod
    def load(
        cls, checkpoint: Path, settings: HandlerSettings, identity: ModelIdentity, *, gpu_id: int | None = None
    ) -> "Pipeline":
        """Read the checkpoint and build the engine that `settings` name.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the settings cannot.
        """
        loaded = load_checkpoint(checkpoint, output_stride=settings.output_stride)
        loaded.network.drop_auxiliary_head()
        engine = build_engine(settings.engine, loaded, EngineOptions(settings.threads, gpu_id))
        return cls(engine, loaded.metadata, identity, settings.limits, settings.inference)

    def warm_up(self) -> None:
        """Segment once in each common orientation, so that no client waits for the first run's allocations.

        Raises:
            RefinementUnavailable: the settings refine by default, and the package for it is not installed.
        """
        for height, width in _WARM_UP_SIZES:
            self.segment(np.zeros((height, width, 3), np.uint8))

    def segment(self, image: RGBImage, options: InferenceOptions | None = None) -> Segmentation:
        """Segment one upright RGB image, uint8 H×W×3, however large; `options` None: the settings' defaults.

        Raises:
            RefinementUnavailable: `options` refine, and the package for it is not installed.
        """
        options = options or self._inference.defaults
        seen = views(image, self.metadata.resize, options)
        logits: dict[int, Logits] = {}
        for members in batches(dict(enumerate(seen)), self._engine.max_batch):
            logits.update(zip(members, infer([seen[index] for index in members], self._engine), strict=True))
        return self._label(image, seen, [logits[index] for index in range(len(seen))], options, _ignore)

    def answer(self, requests: Sequence[SegmentationRequest], observe: Observer = _ignore) -> list[Outcome]:
        """Answer each request by a response or an error of its own; none touches its neighbours."""
        decoded = [attempt(self._decode, request, observe) for request in requests]
        outcomes: dict[int, Outcome] = {i: image for i, image in enumerate(decoded) if isinstance(image, SegmentationError)}
        ready = {i: image for i, image in enumerate(decoded) if not isinstance(image, SegmentationError)}
        logits = self._infer_all({index: seen for index, (_, seen) in ready.items()}, observe)
        for index, (image, seen) in ready.items():
            own = logits[index]
            if isinstance(own, SegmentationError):
                outcomes[index] = own
            else:
                outcomes[index] = attempt(self._finish, image, seen, own, requests[index], observe)
        return [outcomes[index] for index in range(len(requests))]

    def _decode(self, request: SegmentationRequest, observe: Observer) -> tuple[RGBImage, list[View]]:
        with _timed("decode", observe):
            image = decode_image(request.image, self._limits)
        with _timed("prepare", observe):
            self._require_affordable((image.shape[0], image.shape[1]), request.inference)
            return image, views(image, self.metadata.resize, request.inference)

    def _require_affordable(self, size: Size, options: InferenceOptions) -> None:
        """Refuse what would take too long or too much memory before any of it is done."""
        policy = self.metadata.resize
        pixels, limit = network_pixels(size, policy, options), self._limits.max_network_pixels
        if pixels > limit:
            raise InferenceTooLarge(
                f"{_views_in_words(options)}, the network would see {pixels:,} pixels of this image, the limit is {limit:,}"
            )
        if options.refine == "none":
            return
        require_crf()
        height, width = network_size(policy, size)
        values, limit = height * width * len(self.labels.names), self._limits.max_refined_values
        if values > limit:
            asked = f"option 'refine': {width}×{height} pixels of {len(self.labels.names)} classes"
            raise InferenceTooLarge(f"{asked} are {values:,} probabilities, the limit is {limit:,}")

    def _infer_all(self, seen: Mapping[int, Sequence[View]], observe: Observer) -> dict[int, list[Logits] | SegmentationError]:
        """The logits of all views of each image, or what went wrong with one of them."""
        by_key = {(index, position): view for index, own in seen.items() for position, view in enumerate(own)}
        logits: dict[tuple[int, int], Logits] = {}
        failed: dict[int, SegmentationError] = {}
        for members in batches(by_key, self._engine.max_batch):
            outcome = attempt(self._infer, [by_key[key] for key in members], observe)
            if isinstance(outcome, SegmentationError):
                failed |= {index: outcome for index, _ in members}
            else:
                logits.update(zip(members, outcome, strict=True))
        return {
            index: failed[index] if index in failed else [logits[index, position] for position in range(len(own))]
            for index, own in seen.items()
        }

    def _infer(self, seen: Sequence[View], observe: Observer) -> list[Logits]:
        with _timed("network", observe):
            return infer(seen, self._engine)

    def _finish(
        self, image: RGBImage, seen: Sequence[View], logits: Sequence[Logits], request: SegmentationRequest, observe: Observer
    ) -> EncodedResponse:
        result = self._label(image, seen, logits, request.inference, observe)
        with _timed("encode", observe):
            return self._encode(result, request)

    def _label(
        self, image: RGBImage, seen: Sequence[View], logits: Sequence[Logits], options: InferenceOptions, observe: Observer
    ) -> Segmentation:
        if len(seen) == 1 and options.refine == "none":
            with _timed("label", observe):
                return segmentation(image, logits[0], self.labels)
        with _timed("average", observe):
            probabilities = mean_probabilities(seen, logits)
        report = None
        if options.refine == "crf":
            start = time.perf_counter()
            probabilities = dense_crf(prepare(image, self.metadata.resize).pixels, probabilities, self._inference.crf)
            report = RefinementReport(options.refine, time.perf_counter() - start)
            observe("refine", report.seconds)
        with _timed("label", observe):
            return segmentation_by_probability(image, probabilities, self.labels, report)

    def _encode(self, result: Segmentation, request: SegmentationRequest) -> EncodedResponse:
        response = FORMATS[request.format].encode(result, self._identity)
        size, limit = len(response.body), self._limits.max_response_bytes
        if size > limit:
            raise ResponseTooLarge(f"the answer as {request.format!r} has {size:,} bytes, the limit is {limit:,}")
        return response


def _views_in_words(options: InferenceOptions) -> str:
    tiles = f"in {options.tiles}×{options.tiles} tiles, " if options.tiles > 1 else ""
    return f"{tiles}at scales {', '.join(map(str, options.scales))}{', each mirrored too' if options.flip else ''}"


@contextmanager
def _timed(stage: str, observe: Observer) -> Iterator[None]:
    start = time.perf_counter()
    yield
    observe(stage, time.perf_counter() - start)

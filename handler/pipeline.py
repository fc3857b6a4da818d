"""Decode, prepare, infer, label, encode: from requests to answers. Knows nothing of how they travel."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from handler.answers import FORMATS, EncodedResponse
from handler.answers.explanation_png import encode as encode_explanation
from handler.cost import require_affordable
from handler.errors import ResponseTooLarge, SegmentationError, TooLarge, attempt
from handler.geometry import DecodedImage, RGBImage, Size, prepare
from handler.image.decode import decode
from handler.labels import Labels
from handler.limits import Limits
from handler.masks.explanation import Explanation
from handler.masks.label_map import make_label_map
from handler.masks.refinement import RefinementReport, dense_crf
from handler.masks.segmentation import Segmentation, keep_classes, segment_by_logits, segment_by_probabilities
from handler.network.engines import (
    Engine,
    EngineOptions,
    GradientEngine,
    LabellingEngine,
    LanedEngine,
    ModelFiles,
    build_engine,
    chosen_engine,
    reference_engine,
)
from handler.network.engines.archive import archived_agreement, archived_graph
from handler.network.explain import explain, torch_threads
from handler.network.views import View, batches, infer, infer_each, mean_probabilities, needed_size, views
from handler.options import InferenceOptions, ModelIdentity, SegmentationRequest
from handler.scheduler import Lanes, PixelBudget
from handler.settings import HandlerSettings, InferenceSettings
from handler.stages import Observer, ignore, timed
from model.metadata import CheckpointMetadata

Outcome = EncodedResponse | SegmentationError
Logits = npt.NDArray[np.float32]

_DEFAULT_INFERENCE = InferenceSettings()
_WARM_UP_SIZES = ((480, 640), (640, 480))


class Pipeline:
    """One model, ready to answer requests."""

    def __init__(
        self,
        engine: Engine,
        metadata: CheckpointMetadata,
        identity: ModelIdentity,
        limits: Limits,
        inference: InferenceSettings = _DEFAULT_INFERENCE,
        *,
        gradients: Callable[[], Engine] | None = None,
        threads: int = 0,
    ) -> None:
        """
        Args:
            engine: with the model's network in it.
            metadata: the model's.
            identity: the model's.
            limits: of a request.
            inference: what is done where a request asks for nothing else.
            gradients: makes an engine for explanations, when the first is asked for; None: `engine` is that too.
            threads: of an explanation; 0: as many as torch has now.
        """
        self.metadata = metadata
        self.labels = Labels.from_metadata(metadata)
        self._engine = engine
        self._identity = identity
        self._limits = limits
        self._inference = inference
        self._make_gradients = gradients
        self._explaining = threading.Lock()
        self._refining = threading.Lock()
        self._threads = threads or torch.get_num_threads()
        self._make_label_map = engine.make_label_map if isinstance(engine, LabellingEngine) else make_label_map

    @classmethod
    def load(
        cls,
        checkpoint: Path,
        settings: HandlerSettings,
        identity: ModelIdentity,
        *,
        archive: Path | None = None,
        gpu_id: int | None = None,
        lanes: int = 1,
    ) -> "Pipeline":
        """Build the engine that `settings` name, with the checkpoint's network in it.

        Args:
            checkpoint: a safetensors file.
            settings: the handler's.
            identity: how the model calls itself in answers.
            archive: the extracted archive, with what packaging made for engines and found out about them; None: there is none.
            gpu_id: the GPU to run on; None: the CPU.
            lanes: requests that may be worked on side by side, if the engine can and there are as many.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the settings cannot.
        """
        files = ModelFiles(checkpoint, settings.output_stride, archived_graph(archive) if archive else None)
        options = EngineOptions(settings.threads, gpu_id, settings.precision, lanes)
        if archive and (agreement := archived_agreement(archive)):
            name = chosen_engine(settings.engine, options)
            options = replace(options, precision=agreement.trusted(name, settings.precision))
        engine = build_engine(settings.engine, files, options)
        gradients = partial(reference_engine, files, EngineOptions(gpu_id=gpu_id))
        return cls(
            engine,
            files.metadata(),
            identity,
            settings.limits,
            settings.inference,
            gradients=None if isinstance(engine, GradientEngine) else gradients,
            threads=settings.threads,
        )

    @property
    def engine(self) -> Engine:
        """What runs the network."""
        return self._engine

    @property
    def explains(self) -> bool:
        """Whether there are the gradients that explanations need."""
        return self._make_gradients is not None or isinstance(self._engine, GradientEngine)

    def warm_up(self) -> None:
        """Segment once in each common orientation, so that no client waits for the first run's allocations.

        Raises:
            RefinementUnavailable: the settings refine by default, and the package for it is not installed.
        """
        for height, width in _WARM_UP_SIZES:
            blank = DecodedImage.whole(np.zeros((height, width, 3), np.uint8))
            self.segment(blank)
            for engine in self._lane_engines:
                infer(views(blank, self.metadata.resize, InferenceOptions()), engine)

    def segment(self, image: RGBImage | DecodedImage, options: InferenceOptions | None = None) -> Segmentation:
        """Segment one upright RGB image, uint8 H×W×3, or a copy of it, however large; `options` None: the settings' defaults.

        Raises:
            RefinementUnavailable: `options` refine, and the package for it is not installed.
        """
        options = options or self._inference.defaults
        decoded = image if isinstance(image, DecodedImage) else DecodedImage.whole(image)
        seen = views(decoded, self.metadata.resize, options)
        logits: dict[int, Logits] = {}
        for members in batches(dict(enumerate(seen)), self._engine.max_batch):
            logits.update(zip(members, infer([seen[index] for index in members], self._engine), strict=True))
        return self._label(decoded, seen, [logits[index] for index in range(len(seen))], options, ignore)

    def needed(self, options: InferenceOptions) -> Callable[[Size], Size]:
        """How large a copy of an image it takes to segment it as `options` say: what `handler.image.decode.decode` asks for."""
        return partial(needed_size, policy=self.metadata.resize, options=options)

    def explanation(self, image: RGBImage, class_index: int | None = None) -> Explanation:
        """Which parts of one upright RGB image, uint8 H×W×3, speak for a class; None: for the one seen most.

        Raises:
            ExplanationUnavailable: the engine has no gradients.
            InvalidOption: the model has no such class.
        """
        # What finds the gradients hangs itself into the network, which lanes have in common.
        with self._explaining, torch_threads(self._threads):
            return explain(image, class_index, engine=self._gradients, labels=self.labels, policy=self.metadata.resize)

    @cached_property
    def _gradients(self) -> Engine:
        return self._make_gradients() if self._make_gradients else self._engine

    def answer(self, requests: Sequence[SegmentationRequest], observe: Observer = ignore) -> list[Outcome]:
        """Answer each request by a response or an error of its own; none touches its neighbours.

        Only as many images are in memory at once as have the pixels of the largest that is allowed, and one more.

        Args:
            requests: what is asked for; several go through an engine that has lanes side by side, through another in batches.
            observe: is told how long each stage took; it may be called by several threads.
        """
        if len(requests) > 1 and self._lanes is not None:
            return self._lanes.map([(request, observe) for request in requests])
        return self._answer_in_batches(requests, observe)

    @cached_property
    def _lane_engines(self) -> Sequence[Engine]:
        return self._engine.lanes() if isinstance(self._engine, LanedEngine) else ()

    @cached_property
    def _lanes(self) -> "Lanes[tuple[SegmentationRequest, Observer], Outcome] | None":
        if len(self._lane_engines) < 2:
            return None
        budget = PixelBudget(self._limits.max_pixels)

        def answer(work: tuple[SegmentationRequest, Observer], engine: Engine) -> Outcome:
            request, observe = work
            with budget.share() as take:
                return attempt(self._answer_alone, request, engine, take, observe)

        return Lanes(self._lane_engines, answer)

    def _answer_alone(
        self, request: SegmentationRequest, engine: Engine, take: Callable[[int], None], observe: Observer
    ) -> EncodedResponse:
        decoded = self._decode(request, observe, take)
        (logits,) = infer_each({0: decoded.views}, engine, observe).values()
        if isinstance(logits, SegmentationError):
            raise logits
        return self._finish(decoded, logits, observe)

    def _answer_in_batches(self, requests: Sequence[SegmentationRequest], observe: Observer) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        held: dict[int, _Decoded] = {}
        for index, request in enumerate(requests):
            decoded = attempt(self._decode, request, observe)
            if isinstance(decoded, SegmentationError):
                outcomes[index] = decoded
                continue
            if sum(each.pixels for each in held.values()) + decoded.pixels > self._limits.max_pixels:
                outcomes |= self._answer_together(held, observe)
                held = {}
            held[index] = decoded
        outcomes |= self._answer_together(held, observe)
        return [outcomes[index] for index in range(len(requests))]

    def _answer_together(self, decoded: Mapping[int, "_Decoded"], observe: Observer) -> dict[int, Outcome]:
        logits = infer_each({index: each.views for index, each in decoded.items()}, self._engine, observe)
        outcomes: dict[int, Outcome] = {}
        for index, each in decoded.items():
            own = logits[index]
            outcomes[index] = own if isinstance(own, SegmentationError) else attempt(self._finish, each, own, observe)
        return outcomes

    def _decode(
        self, request: SegmentationRequest, observe: Observer, take: Callable[[int], None] = lambda _: None
    ) -> "_Decoded":
        """`take` is told how many pixels the image has before any is decoded."""
        limits = self._limits.shared_by(request.images_per_call)
        with timed("decode", observe), _explained_share(request):
            image = decode(request.image, limits, partial(self._needed, request, take))
        with timed("prepare", observe), _explained_share(request):
            require_affordable(request, image.size, self.metadata, limits)
            seen = [] if request.explain else views(image, self.metadata.resize, request.inference)
            return _Decoded(request, image, seen)

    def _needed(self, request: SegmentationRequest, take: Callable[[int], None], size: Size) -> Size:
        """The least of an image of `size` that will do."""
        take(size[0] * size[1])
        if request.explain or FORMATS[request.answer.format].needs_photograph:
            return size
        return self.needed(request.inference)(size)

    def _finish(self, decoded: "_Decoded", logits: Sequence[Logits], observe: Observer) -> EncodedResponse:
        request = decoded.request
        response = self._explain(decoded, observe) if request.explain else self._encode(decoded, logits, observe)
        size, limit = len(response.body), self._limits.shared_by(request.images_per_call).max_response_bytes
        if size > limit:
            what = "the explanation" if request.explain else f"the answer as {request.answer.format!r}"
            with _explained_share(request):
                raise ResponseTooLarge(f"{what} has {size:,} bytes, the limit is {limit:,}")
        return response

    def _encode(self, decoded: "_Decoded", logits: Sequence[Logits], observe: Observer) -> EncodedResponse:
        options = decoded.request.answer
        result = self._label(decoded.image, decoded.views, logits, decoded.request.inference, observe)
        with timed("encode", observe):
            if options.classes is not None:
                result = keep_classes(result, options.classes)
            return FORMATS[options.format].encode(result, self._identity, options)

    def _explain(self, decoded: "_Decoded", observe: Observer) -> EncodedResponse:
        request = decoded.request
        with timed("explain", observe):
            explanation = self.explanation(decoded.image.pixels, request.explain_class)
        with timed("encode", observe):
            return encode_explanation(explanation, self._identity, request.answer.alpha)

    def _label(
        self, image: DecodedImage, seen: Sequence[View], logits: Sequence[Logits], options: InferenceOptions, observe: Observer
    ) -> Segmentation:
        if len(seen) == 1 and options.refine == "none":
            with timed("label", observe):
                return segment_by_logits(image, logits[0], self.labels, self._make_label_map)
        with timed("average", observe):
            probabilities = mean_probabilities(seen, logits)
        report = None
        if options.refine == "crf":
            start = time.perf_counter()
            # It takes a gigabyte where it is allowed most, so lanes wait for each other.
            with self._refining:
                probabilities = dense_crf(prepare(image, self.metadata.resize).pixels, probabilities, self._inference.crf)
            report = RefinementReport(options.refine, time.perf_counter() - start)
            observe("refine", report.seconds)
        with timed("label", observe):
            return segment_by_probabilities(image, probabilities, self.labels, report, self._make_label_map)


@dataclass(frozen=True)
class _Decoded:
    """A request whose image is known."""

    request: SegmentationRequest
    image: DecodedImage
    #: What the network is to see of it; nothing, where an explanation is asked for.
    views: Sequence[View]

    @property
    def pixels(self) -> int:
        """Of what was decoded."""
        return self.image.pixels.shape[0] * self.image.pixels.shape[1]


@contextmanager
def _explained_share(request: SegmentationRequest) -> Iterator[None]:
    """A limit that is told is that of one image of a call: say so."""
    try:
        yield
    except TooLarge as error:
        if request.images_per_call == 1:
            raise
        raise error.also(f"each of the {request.images_per_call} images of a call has its share of the limit") from None

"""Segment one image: open → check cost → decode → views → network → labels → answer. Independent of any server."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from handler.answers import FORMATS, EncodedResponse
from handler.answers.arrays import ARRAYS
from handler.answers.explanation_png import encode as encode_explanation
from handler.cost import check_cost, describe_outputs
from handler.errors import ResponseTooLarge, TooLarge
from handler.geometry import DecodedImage, RGBImage, Size
from handler.image.decode import OpenedImage, open_image
from handler.image.pixel_data import OpenedPixels, open_pixels
from handler.labels import Labels
from handler.limits import Limits
from handler.masks.explanation import Explanation
from handler.masks.observe import observe as observe_answer
from handler.masks.refinement import RefinementReport, dense_crf, import_crf
from handler.masks.segmentation import Segmentation, keep_classes, segment_from_logits, segment_from_probabilities
from handler.network.engines import Engine, EngineOptions, Logits, ModelFiles, build_engine, reference_engine, resolve_engine
from handler.network.engines.archive import archived_agreement, archived_graph
from handler.network.explain import explain, torch_threads
from handler.network.tiling import resize_to_network
from handler.network.views import View, ViewPlan, infer_batch, infer_views, mean_probabilities
from handler.options import ANSWER, InferenceOptions, ModelIdentity, PixelData, SegmentationRequest
from handler.settings import HandlerSettings, InferenceSettings
from handler.stages import Observer, ignore, timed
from model.metadata import CheckpointMetadata

_DEFAULT_INFERENCE = InferenceSettings()
_NO_OPTIONS = InferenceOptions()
#: (height, width) of the network's input for warm-up: it loads every kernel while using little memory.
_WARM_UP_SIZE = (256, 256)


@dataclass(frozen=True)
class OpenedRequest:
    """A request whose image's size is known and whose cost is allowed. Nothing is decoded yet."""

    request: SegmentationRequest
    image: OpenedImage | OpenedPixels
    plan: ViewPlan

    @property
    def pixels(self) -> int:
        """The pixels of the image, and so of its label map; more if decoding needs as much memory as a larger image."""
        return self.image.pixels


@dataclass(frozen=True)
class DecodedRequest:
    """A request whose image is decoded and resized to the network's views."""

    request: SegmentationRequest
    image: DecodedImage
    #: Empty for an explanation, which runs the network itself.
    views: Sequence[View]


class Pipeline:
    """One model, ready to segment images. Several threads may use it at once."""

    def __init__(
        self,
        engine: Engine,
        metadata: CheckpointMetadata,
        identity: ModelIdentity,
        limits: Limits,
        inference: InferenceSettings = _DEFAULT_INFERENCE,
        *,
        build_gradient_engine: Callable[[], Engine] | None = None,
        threads: int = 0,
    ) -> None:
        """Wrap a loaded engine.

        Args:
            engine: runs the model's network.
            metadata: the checkpoint's metadata.
            identity: the model name and version shown in answers.
            limits: what one request may cost.
            inference: the defaults of a request's inference options.
            build_gradient_engine: builds the engine for the first explanation; None to use `engine`, if it can.
            threads: torch's threads during an explanation; 0 for one per core.
        """
        self.engine = engine
        self.metadata = metadata
        self.labels = Labels.from_metadata(metadata)
        self.limits = limits
        self._identity = identity
        self._inference = inference
        self._build_gradient_engine = build_gradient_engine
        self._threads = threads or os.cpu_count() or 1
        # An explanation sets torch's threads for the whole process; a CRF may take a gigabyte.
        self._explanation_lock = threading.Lock()
        self._refinement_lock = threading.Lock()

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
        """Build the engine named in `settings` and load the checkpoint's network into it.

        Args:
            checkpoint: a safetensors file.
            settings: how to run it.
            identity: the model name and version shown in answers.
            archive: the folder of an extracted archive, which may hold a converted graph and its engines' agreement.
            gpu_id: the GPU to run on, or None for the CPU.
            lanes: the most requests to run concurrently, for engines that can.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the settings cannot be used.
        """
        files = ModelFiles(checkpoint, settings.output_stride, archived_graph(archive) if archive else None)
        options = EngineOptions(settings.threads, gpu_id, settings.precision, lanes)
        if archive and (agreement := archived_agreement(archive)):
            name = resolve_engine(settings.engine, options)
            options = replace(options, precision=agreement.trusted_precision(name, settings.precision))
        engine = build_engine(settings.engine, files, options)
        build_gradient_engine = partial(reference_engine, files, EngineOptions(gpu_id=gpu_id))
        return cls(
            engine,
            files.metadata(),
            identity,
            settings.limits,
            settings.inference,
            build_gradient_engine=None if engine.has_gradients else build_gradient_engine,
            threads=settings.threads,
        )

    @property
    def can_explain(self) -> bool:
        """Whether explanations are available."""
        return self._build_gradient_engine is not None or self.engine.has_gradients

    def warm_up(self) -> None:
        """Run the network on a small image and open the lanes, so that no client has to wait for that.

        Raises:
            RefinementUnavailable: the settings refine by default, and the package for it is not installed.
            EngineFault: the engine fails, or its logits are not finite.
        """
        if self._inference.refine == "crf":
            import_crf()
        # Not blank: non-finite weights may show up only for some colours.
        pattern = (np.arange(math.prod(_WARM_UP_SIZE) * 3) * 37).astype(np.uint8).reshape(*_WARM_UP_SIZE, 3)
        (logits,) = infer_batch([View(pattern)], self.engine)
        segment_from_logits(DecodedImage.from_pixels(pattern), logits, self.labels, self.engine.make_label_map)
        self.engine.lanes()

    def plan(self, size: Size, options: InferenceOptions | None = None) -> ViewPlan:
        """Plan the views of an image of `size` (height, width); if `options` is None, use the settings' defaults."""
        return ViewPlan.for_image(size, self.metadata.resize, options or self._inference.defaults)

    def segment(self, image: RGBImage | DecodedImage, options: InferenceOptions | None = None) -> Segmentation:
        """Segment one upright image, uint8 RGB H×W×3, of any size; if `options` is None, use the settings' defaults.

        Raises:
            RefinementUnavailable: the package for the refinement is not installed.
        """
        options = options or self._inference.defaults
        decoded = image if isinstance(image, DecodedImage) else DecodedImage.from_pixels(image)
        views = self.plan(decoded.size, options).make_views(decoded)
        return self._label(decoded, views, infer_views(views, self.engine, ignore), options, ignore)

    def explanation(self, image: RGBImage, class_index: int | None = None) -> Explanation:
        """Show which parts of one upright image, uint8 RGB H×W×3, are evidence for a class; None for the prevailing class.

        Raises:
            ExplanationUnavailable: the engine does not compute gradients.
            InvalidOption: the model has no such class.
        """
        with self._explanation_lock, torch_threads(self._threads):
            return explain(image, class_index, engine=self._gradient_engine, labels=self.labels, policy=self.metadata.resize)

    def release_memory(self) -> None:
        """Free the memory kept between requests for speed; the next request has to allocate it again."""
        self.engine.release_memory()
        with self._explanation_lock:
            self.__dict__.pop("_gradients", None)

    @cached_property
    def _gradient_engine(self) -> Engine:
        return self._build_gradient_engine() if self._build_gradient_engine else self.engine

    def answer(self, request: SegmentationRequest, observe: Observer = ignore) -> EncodedResponse:
        """Answer one request, from the image file to the encoded answer.

        Raises:
            SegmentationError: the request cannot be answered.
        """
        decoded = self.decode(self.open(request), observe)
        return self.finish(decoded, infer_views(decoded.views, self.engine, observe), observe)

    def open(self, request: SegmentationRequest) -> OpenedRequest:
        """Read the image's header and check what the request would cost.

        Raises:
            SegmentationError: the file is not an image, or the request costs too much.
        """
        limits = self.limits.shared_by(request.images_per_call)
        with _note_shared_limit(request):
            image = _open_image(request, limits)
            plan = self.plan(image.size, _NO_OPTIONS if request.explain else request.inference)
            check_cost(request, image.size, plan, self.metadata, limits)
        return OpenedRequest(request, image, plan)

    def decode(self, opened: OpenedRequest, observe: Observer = ignore) -> DecodedRequest:
        """Decode the image, no larger than needed, and make the network's views of it.

        Raises:
            InvalidImage: the file is truncated or broken.
        """
        request = opened.request
        is_encoded = ANSWER in request.outputs
        shows_photograph = request.explain or (is_encoded and FORMATS[request.answer.format].needs_photograph)
        with timed("decode", observe):
            image = opened.image.decode(None if shows_photograph else opened.plan.min_decode_size)
        with timed("prepare", observe):
            views = [] if request.explain else opened.plan.make_views(image)
        return DecodedRequest(request, image, views)

    def finish(self, decoded: DecodedRequest, logits: Sequence[Logits], observe: Observer = ignore) -> EncodedResponse:
        """Turn the logits of a request's views into its answer.

        Raises:
            ResponseTooLarge: the answer has too many bytes.
            SegmentationError: an explanation was requested and is not available.
        """
        request = decoded.request
        if request.explain:
            return self._check_response_size(request, self._explain(decoded, observe))
        result = self.label(decoded, logits, observe)
        observation = observe_answer(decoded.image, result, with_sample=request.sampled)
        return replace(self.encode(request, result, observe), observation=observation)

    def label(self, decoded: DecodedRequest, logits: Sequence[Logits], observe: Observer = ignore) -> Segmentation:
        """Turn the logits of a request's views into labels of all classes."""
        return self._label(decoded.image, decoded.views, logits, decoded.request.inference, observe)

    def encode(self, request: SegmentationRequest, result: Segmentation, observe: Observer = ignore) -> EncodedResponse:
        """Encode the labels of a request's image as its answer; the same labels may be encoded in other formats too.

        Raises:
            ResponseTooLarge: the answer has too many bytes.
        """
        options, outputs = request.answer, request.outputs
        with timed("encode", observe):
            if options.classes is not None:
                result = keep_classes(result, options.classes)
            encode = FORMATS[options.format].encode
            response = encode(result, self._identity, options) if ANSWER in outputs else EncodedResponse(b"", "")
            response = replace(response, arrays={name: ARRAYS[name].compute(result) for name in outputs if name != ANSWER})
        return self._check_response_size(request, response)

    def _check_response_size(self, request: SegmentationRequest, response: EncodedResponse) -> EncodedResponse:
        size, limit = response.byte_count, self.limits.shared_by(request.images_per_call).max_response_bytes
        if size > limit:
            name = "the explanation" if request.explain else describe_outputs(request)
            with _note_shared_limit(request):
                raise ResponseTooLarge(f"{name} has {size:,} bytes, the limit is {limit:,}")
        return response

    def _explain(self, decoded: DecodedRequest, observe: Observer) -> EncodedResponse:
        request = decoded.request
        with timed("explain", observe):
            explanation = self.explanation(decoded.image.pixels, request.explain_class)
        with timed("encode", observe):
            return encode_explanation(explanation, self._identity, request.answer.alpha)

    def _label(
        self, image: DecodedImage, views: Sequence[View], logits: Sequence[Logits], options: InferenceOptions, observe: Observer
    ) -> Segmentation:
        if len(views) == 1 and options.refine == "none":
            with timed("label", observe):
                return segment_from_logits(image, logits[0], self.labels, self.engine.make_label_map, self.metadata.temperature)
        with timed("average", observe):
            probabilities = mean_probabilities(views, logits)
        report, temperature = None, self.metadata.temperature
        if options.refine == "crf":
            start = time.perf_counter()
            with self._refinement_lock:
                pixels = resize_to_network(image, self.metadata.resize)
                probabilities = dense_crf(pixels, probabilities, self._inference.crf)
            # The temperature was fitted to the network's output, not to a CRF's marginals.
            report, temperature = RefinementReport(options.refine, time.perf_counter() - start), 1.0
            observe("refine", report.seconds)
        with timed("label", observe):
            return segment_from_probabilities(
                image, probabilities, self.labels, report, self.engine.make_label_map, temperature
            )


def _open_image(request: SegmentationRequest, limits: Limits) -> OpenedImage | OpenedPixels:
    if isinstance(request.image, PixelData):
        return open_pixels(request.image, limits, request.inference)
    return open_image(request.image, limits, request.inference)


@contextmanager
def _note_shared_limit(request: SegmentationRequest) -> Iterator[None]:
    """Add to an error about a limit that it is shared by all images of the call."""
    try:
        yield
    except TooLarge as error:
        if request.images_per_call == 1:
            raise
        raise error.with_note(f"the {request.images_per_call} images of a call share the limit evenly") from None

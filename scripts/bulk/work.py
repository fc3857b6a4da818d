"""The work on one image in a process: read, decode, run, encode, write. Answers are the same as the server's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from handler.answers import FORMATS
from handler.errors import ImageTooLarge, InternalError, SegmentationError, capture
from handler.masks.segmentation import Segmentation, keep_classes
from handler.masks.segments import find_segments
from handler.network.views import infer_views
from handler.option_types import ImageName
from handler.options import AnswerOptions, InferenceOptions, SegmentationRequest
from handler.pipeline import DecodedRequest, Pipeline
from handler.stages import Observer, timed
from scripts.bulk.destinations import Destination
from scripts.bulk.errors import FileTooLarge, NameNotPossible, ReadError
from scripts.bulk.executors.model_source import ModelSource
from scripts.bulk.georeference import is_georeferenced
from scripts.bulk.images import DONE, FAILED, UNANSWERED, ImageClass, ImageResult, ImageTask
from scripts.bulk.storage import Content, Version, digest_version, read_file


@dataclass(frozen=True)
class SegmentImages:
    """Prepares a process to segment images; `Executor.run` calls it once in each."""

    model: ModelSource
    #: Options with all values filled in; the answer options have the first of `formats`.
    inference: InferenceOptions
    answer: AnswerOptions
    formats: tuple[str, ...]
    destination: Destination

    def __call__(self) -> "ImageSegmenter":
        """Load the model.

        Raises:
            CheckpointError, ConfigurationError, RefinementUnavailable: the archive cannot be used.
            BulkError: this machine cannot access the destination.
        """
        self.destination.require_shared()
        return ImageSegmenter(self.model.load(), self)


class ImageSegmenter:
    """Segments one image and writes its answers."""

    def __init__(self, pipeline: Pipeline, job: SegmentImages) -> None:
        self._pipeline = pipeline
        self._job = job

    def __call__(self, task: ImageTask) -> ImageResult:
        """Segment an image; any error in the image is part of the result.

        Raises:
            BulkError: the destination cannot be written to.
        """
        seconds: dict[str, float] = {}

        def observe(stage: str, value: float) -> None:
            seconds[stage] = seconds.get(stage, 0.0) + value

        try:
            with timed("read", observe):
                content = self._read(task)
        except FileTooLarge as error:
            return _with_raster_advice(ImageResult(FAILED, task.version, ImageTooLarge.__name__, str(error)), task)
        except ReadError as error:
            return ImageResult(UNANSWERED, task.version, type(error).__name__, str(error))
        outcome = capture(self._segment, task, content.data, observe)
        if isinstance(outcome, SegmentationError):
            return _with_raster_advice(replace(_failed_result(outcome, content.version), seconds=seconds), task)
        try:
            with timed("write", observe):
                for name, body in outcome.files.items():
                    self._job.destination.write(name, body)
        except NameNotPossible as error:
            return ImageResult(FAILED, content.version, type(error).__name__, str(error), seconds=seconds)
        height, width = outcome.size
        return ImageResult(
            DONE,
            content.version,
            width=width,
            height=height,
            seconds=seconds,
            classes=outcome.classes,
            review=outcome.review,
            outputs=tuple(outcome.files),
        )

    def _read(self, task: ImageTask) -> Content:
        if task.data is None:
            return read_file(task.path, self._pipeline.limits.max_bytes)
        return Content(task.data, digest_version(task.data))

    def _segment(self, task: ImageTask, data: bytes, observe: Observer) -> "_Answers":
        # Formats that show the photograph need it at full size; the others get the reduced copy, as on the server.
        groups: dict[bool, list[SegmentationRequest]] = {False: [], True: []}
        for request in self._requests(task, data):
            groups[FORMATS[request.answer.format].needs_photograph].append(request)
        files: dict[str, bytes] = {}
        segmentation: Segmentation | None = None
        for group in filter(None, groups.values()):
            if segmentation is None or segmentation.image is None:
                segmentation = self._label(group, observe)
            else:
                for request in group:
                    self._pipeline.open(request)
            for request in group:
                files[request.answer.format] = self._pipeline.encode(request, segmentation, observe).body
        assert segmentation is not None  # noqa: S101 (there is at least one format)
        names = dict(task.outputs)
        size = segmentation.label_map.shape[0], segmentation.label_map.shape[1]
        classes = self._job.answer.classes
        filtered = segmentation if classes is None else keep_classes(segmentation, classes)
        files = {names[name]: files[name] for name in self._job.formats}
        return _Answers(files, size, self._classes(filtered), filtered.review)

    def _requests(self, task: ImageTask, data: bytes) -> list[SegmentationRequest]:
        name_option = _name_option(task.name)
        return [
            SegmentationRequest(
                data,
                self._job.inference,
                self._job.answer.model_copy(update={"format": name, **(name_option if FORMATS[name].has_file_name else {})}),
            )
            for name in self._job.formats
        ]

    def _label(self, group: Sequence[SegmentationRequest], observe: Observer) -> Segmentation:
        requests = [self._pipeline.open(request) for request in group]
        decoded: DecodedRequest = self._pipeline.decode(requests[0], observe)
        logits = infer_views(decoded.views, self._pipeline.engine, observe)
        return self._pipeline.label(decoded, logits, observe)

    def _classes(self, segmentation: Segmentation) -> tuple[ImageClass, ...]:
        segments = find_segments(segmentation, self._job.answer.model_copy(update={"components": False, "min_score": 0.0}))
        return tuple(
            ImageClass(segment.class_index, segment.label, segment.pixels, segment.score) for segment in segments.items
        )


@dataclass(frozen=True)
class _Answers:
    #: The files' contents, by name in the destination.
    files: Mapping[str, bytes]
    #: Height, width.
    size: tuple[int, int]
    classes: tuple[ImageClass, ...]
    review: float


def _failed_result(error: SegmentationError, version: Version) -> ImageResult:
    if not isinstance(error, InternalError):
        return ImageResult(FAILED, version, type(error).__name__, str(error))
    cause = error.__cause__
    return ImageResult(UNANSWERED, version, type(error).__name__, f"{type(cause).__name__}: {cause}")


def _with_raster_advice(result: ImageResult, task: ImageTask) -> ImageResult:
    """Suggest `--raster` in the error for a georeferenced raster that is too large to be segmented as an image."""
    file = task.path if task.data is None else task.data
    if result.error_type != ImageTooLarge.__name__ or not is_georeferenced(file):
        return result
    return replace(result, error=f"{result.error}; it is a georeferenced raster, which --raster segments in windows")


def _name_option(name: str) -> dict[str, Any]:
    """Return the option that names the file in its annotations, if the server would accept the name."""
    try:
        return {"image_name": ImageName().read(name.rpartition("/")[2])}
    except ValueError:  # Not text, or with control characters.
        return {}

"""Segment images from Python, without a server."""

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.answers import FORMATS, EncodedResponse
from handler.archive import ModelArchive, extract_archive
from handler.errors import InvalidImage, InvalidOption
from handler.geometry import RGBImage
from handler.image.decode import convert_image, open_image
from handler.masks.label_map import LabelMap
from handler.masks.segmentation import Segmentation, keep_classes
from handler.masks.segments import Segment, find_segments
from handler.options import AnswerOptions, InferenceOptions, ModelIdentity, ReadingOptions
from handler.pipeline import Pipeline
from handler.request.parser import RequestParser
from handler.settings import HandlerSettings
from model.strict import ConfigurationError, name_hint

#: A path, a file's bytes, a picture, or an array: uint8 RGB H×W×3, or grey H×W.
ImageSource = str | PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]


class Segmenter:
    """A model ready to segment images. Several threads may use it at once.

    >>> segmenter = Segmenter.load("build/model-store/deeplabv3.mar")
    >>> result = segmenter("cat.jpg", scales=[0.75, 1, 1.25], flip=True)
    >>> [segment.label for segment in result.segments]
    ['cat', 'background']
    >>> result.save("mask.png")
    """

    def __init__(self, pipeline: Pipeline, settings: HandlerSettings, identity: ModelIdentity) -> None:
        """Wrap a loaded pipeline; `load` does this from a file."""
        self._pipeline = pipeline
        self._identity = identity
        self._limits = settings.limits
        self._parser = RequestParser(settings, pipeline.labels)

    @classmethod
    def load(cls, path: str | PathLike[str], **settings: Any) -> "Segmenter":
        """Load a model archive (`.mar`), or a checkpoint (`.safetensors`).

        Args:
            path: the file.
            settings: override settings of the archive, as in section `handler` of model-config.yaml: `engine="torch"`,
                `precision="float32"`, `threads=1`, ...

        Raises:
            FileNotFoundError: the file does not exist.
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the file is neither, or a setting is unknown or has a bad value.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        if path.suffix == ".safetensors":
            identity, handler_settings = ModelIdentity(path.stem, ""), _replace_settings(HandlerSettings(), settings)
            return cls(Pipeline.load(path, handler_settings, identity), handler_settings, identity)
        if path.suffix != ".mar":
            raise ConfigurationError(f"{path}: is neither a model archive (.mar) nor a checkpoint (.safetensors)")
        # The files are kept as long as the segmenter, because the first explanation reads the checkpoint again.
        folder = tempfile.mkdtemp(prefix="deeplab-")
        try:
            segmenter = cls._from_archive(extract_archive(path, Path(folder)), settings)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(segmenter, shutil.rmtree, folder, ignore_errors=True)
        return segmenter

    @classmethod
    def _from_archive(cls, archive: ModelArchive, settings: Mapping[str, Any]) -> "Segmenter":
        handler_settings = _replace_settings(archive.settings, settings)
        # A packaged graph only fits the output stride it was packaged for.
        folder = archive.folder if handler_settings.output_stride == archive.settings.output_stride else None
        pipeline = Pipeline.load(archive.checkpoint, handler_settings, archive.identity, archive=folder)
        return cls(pipeline, handler_settings, archive.identity)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, by index."""
        return self._pipeline.labels.names

    def __call__(self, image: ImageSource, **options: Any) -> "SegmentationResult":
        """Segment one image.

        Args:
            image: a path, a file's bytes, a Pillow image, or an array: uint8 RGB H×W×3, or grey H×W.
            options: request options, with the same names, values and defaults: `scales=[0.75, 1]`, `flip=True`, `tiles=2`,
                `refine="crf"`, `classes=["cat"]`, `components=True`, `min_score=0.5`, ...

        Raises:
            InvalidImage: the image cannot be decoded, or an array has another type or shape.
            InvalidOption: an option is unknown, or its value is not allowed.
            TooLarge: the image is larger than the settings allow.
            RefinementUnavailable: the package for `refine="crf"` is not installed.
        """
        if "format" in options:
            raise InvalidOption("option 'format': choose it when the result is converted, as in result.to('coco')")
        inference, answer = self._parser.fill_in(self._parser.parse_options(_tuples_to_lists(options)))
        segmentation = self._pipeline.segment(self._load_image(image, inference), inference)
        return SegmentationResult(segmentation, answer, self._identity, self._parser)

    def _load_image(self, image: ImageSource, options: ReadingOptions) -> RGBImage:
        if isinstance(image, np.ndarray):
            return convert_image(Image.fromarray(_check_array(image)), options)
        if isinstance(image, Image.Image):
            return convert_image(image, options)
        data = image if isinstance(image, bytes) else Path(image).read_bytes()
        return open_image(data, self._limits, options).decode().pixels


class SegmentationResult:
    """The segmentation of one image."""

    def __init__(
        self, segmentation: Segmentation, options: AnswerOptions, identity: ModelIdentity, parser: RequestParser
    ) -> None:
        """Wrap a segmentation of all classes; `options` select what is reported."""
        self._segmentation = segmentation
        self._options = options
        self._identity = identity
        self._parser = parser

    @property
    def label_map(self) -> LabelMap:
        """The class index of each pixel, H×W like the upright image."""
        return self._reported.label_map

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, by index."""
        return self._reported.labels.names

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """The class probabilities, C×h×w on the network's grid, which is coarser than the image."""
        return self._reported.probabilities

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The classes in the image or, with `components=True`, their connected parts: largest first, background last."""
        return find_segments(self._reported, self._options).items

    def mask(self, label: str) -> npt.NDArray[np.bool_]:
        """Return where the class called `label` is, H×W.

        Raises:
            InvalidOption: the model has no such class.
        """
        if label not in self.classes:
            raise InvalidOption(f"there is no class {label!r}{name_hint(label, self.classes)}")
        mask: npt.NDArray[np.bool_] = self.label_map == self.classes.index(label)
        return mask

    def to(self, format_name: str, **options: Any) -> Any:
        """Convert to a response format: JSON formats to dicts and lists, all others to a file's bytes.

        Args:
            format_name: `json`, `png`, `overlay`, `index`, `confidence`, `npz`, `geojson`, `coco`, ...
            options: override the call's options, such as `components=True`, `tolerance=1`.

        Raises:
            InvalidOption: the format or an option does not exist, or a value is not allowed.
        """
        response = self._encode(format_name, options)
        return json.loads(response.body) if response.content_type.endswith("json") else response.body

    def save(self, path: str | PathLike[str], format_name: str | None = None, **options: Any) -> None:
        """Write a file in a response format.

        Args:
            path: the file; its extension selects the format: `.png` for a palette PNG, `.jpg` for an overlay, `.json`, `.npz`,
                `.geojson`, `.zip` for COCO panoptic.
            format_name: a format to use regardless of the extension, such as `coco`, `index`.
            options: override the call's options.

        Raises:
            InvalidOption: no format has this extension, or an option does not exist or has a bad value.
        """
        path = Path(path)
        path.write_bytes(self._encode(format_name or _format_for(path), options).body)

    @cached_property
    def _reported(self) -> Segmentation:
        return _keep_classes(self._segmentation, self._options)

    def _encode(self, format_name: str, options: Mapping[str, Any]) -> EncodedResponse:
        for name in options:
            if name in InferenceOptions.model_fields:
                raise InvalidOption(f"option {name!r}: changes the segmentation itself; pass it to the segmenter")
        changes = self._parser.parse_options({**_tuples_to_lists(options), "format": format_name})
        answer = self._options.model_copy(update=changes)
        entry = FORMATS[answer.format]
        result = _keep_classes(self._segmentation, answer)
        if len(result.labels.names) > entry.max_classes:
            raise InvalidOption(
                f"format {answer.format!r} holds at most {entry.max_classes} classes, there are {len(result.labels.names)}; "
                "use 'index'"
            )
        return entry.encode(result, self._identity, answer)


def _tuples_to_lists(options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert tuples to lists, so that callers may write either."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def _keep_classes(segmentation: Segmentation, options: AnswerOptions) -> Segmentation:
    return segmentation if options.classes is None else keep_classes(segmentation, options.classes)


def _format_for(path: Path) -> str:
    suffix = {".jpeg": ".jpg"}.get(path.suffix.lower(), path.suffix.lower())
    for name, entry in FORMATS.items():
        if entry.suffix == suffix:
            return name
    endings = ", ".join(dict.fromkeys(entry.suffix for entry in FORMATS.values()))
    raise InvalidOption(f"{path}: no format has the extension {path.suffix!r}; use one of {endings}, or name the format")


def _check_array(image: npt.NDArray[Any]) -> RGBImage:
    if image.dtype == np.uint8 and image.ndim == 2 and image.size:
        return np.repeat(image[:, :, np.newaxis], 3, axis=2)
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return image
    raise InvalidImage(
        f"an array of {image.dtype} of shape {image.shape} is not an image; it must be uint8, "
        "of shape (height, width, 3) for RGB or (height, width) for grey"
    )


def _replace_settings(settings: HandlerSettings, changes: Mapping[str, Any]) -> HandlerSettings:
    return HandlerSettings.parse({**settings.model_dump(exclude_unset=True), **changes}, source="Segmenter.load")

"""Predict label maps for image files with a checkpoint, an archive or a running server."""

import io
import json
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from handler.answers import FORMATS
from handler.errors import RefinementUnavailable, SegmentationError
from handler.image.decode import open_image
from handler.labels import Labels
from handler.masks.label_map import LabelMap
from handler.masks.refinement import import_crf
from handler.masks.segmentation import Segmentation
from handler.network.engines.archive import GRAPH
from handler.options import FIRST_BANDS, TYPE_RANGE, InferenceOptions, ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model.strict import name_hint
from scripts.client import AnswerError, Client
from scripts.errors import UserError
from scripts.served_model_config import ServedModelConfig
from scripts.server_access import ServerAccess
from scripts.yaml_file import read_mapping

#: Concurrent requests: enough to keep the server busy.
_IN_FLIGHT = 4


class PredictionError(UserError):
    """A model cannot be opened, or an image cannot be segmented."""


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one image."""

    label_map: LabelMap
    #: Includes the probabilities; None from a server, which returns only labels.
    segmentation: Segmentation | None = None


class Predictor(Protocol):
    """A model, however it is run."""

    @property
    def labels(self) -> Labels: ...

    @property
    def conditions(self) -> str:
        """Description of how images are segmented."""
        ...

    def predict(self, photos: Iterable[Path]) -> Iterator[Prediction]:
        """Yield the prediction for each photograph, in order.

        Raises:
            PredictionError: a photograph cannot be segmented.
        """
        ...


@dataclass(frozen=True)
class LocalPredictor:
    """A model that runs in this process."""

    pipeline: Pipeline
    settings: HandlerSettings
    #: Every option has a value.
    options: InferenceOptions

    @property
    def labels(self) -> Labels:
        return self.pipeline.labels

    @property
    def conditions(self) -> str:
        scales = ", ".join(f"{scale:g}" for scale in self.options.scales)
        return ", ".join(
            [
                "single scale" if self.options.scales == (1.0,) else f"scales {scales}",
                *(["mirrored too"] if self.options.flip else []),
                *([f"{self.options.tiles}×{self.options.tiles} tiles"] if self.options.tiles > 1 else []),
                *([f"refined by {self.options.refine}"] if self.options.refine != "none" else []),
                *([f"bands {_text(self.options.bands)}"] if self.options.bands != FIRST_BANDS else []),
                *([f"range {_text(self.options.range)}"] if self.options.range != TYPE_RANGE else []),
                *([f"output stride {self.settings.output_stride}"] if self.settings.output_stride else []),
                f"{self.pipeline.engine.name} in {self.pipeline.engine.precision}",
            ]
        )

    def predict(self, photos: Iterable[Path]) -> Iterator[Prediction]:
        for photo in photos:
            try:
                image_file = open_image(photo.read_bytes(), self.settings.limits, self.options)
                image = image_file.decode(self.pipeline.plan(image_file.size, self.options).min_decode_size)
            except (SegmentationError, OSError) as error:
                raise PredictionError(f"{photo}: {error}") from error
            result = self.pipeline.segment(image, self.options)
            yield Prediction(result.label_map, result)


def load(path: Path, options: InferenceOptions, **changes: Any) -> LocalPredictor:
    """Open the model at `path`: a checkpoint with the handler's defaults, or an archive with its own settings.

    Args:
        path: a checkpoint or an archive.
        options: request options; fields that are not set (pydantic's `model_fields_set`) are taken from the settings.
        changes: values to replace in `HandlerSettings`, such as `output_stride`, `engine` and `precision`; None keeps a value.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: the archive's model-config.yaml cannot be used.
        PredictionError: the file is missing, of an unknown kind or not an archive of this project, or the package for the
            refinement is not installed.
    """
    if path.suffix not in OPENERS:
        raise PredictionError(f"{path}: unknown kind of file {path.suffix!r}{name_hint(path.suffix, OPENERS)}")
    if not path.is_file():
        raise PredictionError(f"{path}: no such file")
    with OPENERS[path.suffix](path) as (checkpoint, settings, archive):
        overrides = {name: value for name, value in changes.items() if value is not None}
        if overrides:
            # An archive's graph only fits its own settings.
            settings, archive = settings.model_copy(update=overrides), None
        options = settings.inference.defaults.model_copy(update=options.model_dump(exclude_unset=True))
        if options.refine == "crf":
            try:
                import_crf()
            except RefinementUnavailable as error:
                raise PredictionError("to refine by crf, pip install pydensecrf2") from error
        pipeline = Pipeline.load(checkpoint, settings, ModelIdentity(path.stem, ""), archive=archive, gpu_id=0)
        return LocalPredictor(pipeline, settings, options)


#: A checkpoint, its handler's settings, and the folder of the unpacked archive, if it comes from one.
OpenedModel = tuple[Path, HandlerSettings, Path | None]


@contextmanager
def _open_checkpoint(path: Path) -> Iterator[OpenedModel]:
    yield path, HandlerSettings(), None


@contextmanager
def _open_archive(path: Path) -> Iterator[OpenedModel]:
    """Unpack the files needed for prediction."""
    with tempfile.TemporaryDirectory(prefix="deeplab-evaluate-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                model = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
                checkpoint, config = (Path(archive.extract(model[key], folder)) for key in ("serializedFile", "configFile"))
                archive.extractall(folder, [name for name in archive.namelist() if Path(name).parent == GRAPH.parent])
        except (OSError, zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
            raise PredictionError(f"{path}: not a model archive of this project: {error}") from error
        settings = ServedModelConfig.parse(read_mapping(config), source=f"{path}, {config.name}").handler
        yield checkpoint, settings, Path(folder)


#: Functions that open a model, by file suffix.
OPENERS: dict[str, Callable[[Path], AbstractContextManager[OpenedModel]]] = {
    ".safetensors": _open_checkpoint,
    ".mar": _open_archive,
}


@dataclass(frozen=True)
class ServerPredictor:
    """A model on a running server, used over HTTP."""

    client: Client
    options: Mapping[str, str]
    labels: Labels
    conditions: str

    @classmethod
    def connect(cls, url: str, options: InferenceOptions, access: ServerAccess | None = None) -> "ServerPredictor":
        """Fetch the server's class names by sending a small image.

        Args:
            url: URL of the model's predictions.
            options: request options; fields that are not set are left to the server's settings.
            access: credentials for the server; None takes them from the environment.

        Raises:
            AnswerError: the server does not answer.
            PredictionError: its answer is not a PNG that names its classes.
        """
        texts = {name: _text(value) for name, value in options.model_dump(exclude_unset=True).items()}
        conditions = ", ".join(["the server's settings", *(f"{name} {text}" for name, text in texts.items())])
        probe = io.BytesIO()
        Image.new("RGB", (64, 64), "grey").save(probe, "PNG")
        client = Client(url, connections=_IN_FLIGHT, access=access)
        client.require_server()
        answer = _request_mask(client, texts, probe.getvalue(), "a grey picture")
        colours = np.asarray(answer.getpalette("RGB"), np.uint8).reshape(-1, 3).tolist()
        try:
            names = tuple(json.loads(answer.info["classes"]))
        except (KeyError, json.JSONDecodeError) as error:
            raise PredictionError(f"{url}: its PNG has no class names in a text chunk 'classes'") from error
        palette = tuple((red, green, blue) for red, green, blue in colours[: len(names)])
        return cls(client, texts, Labels(names, palette), conditions)

    def predict(self, photos: Iterable[Path]) -> Iterator[Prediction]:
        pending: deque[Future[Prediction]] = deque()
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            for photo in photos:
                pending.append(pool.submit(self._predict, photo))
                if len(pending) > _IN_FLIGHT:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _predict(self, photo: Path) -> Prediction:
        return Prediction(np.asarray(_request_mask(self.client, self.options, photo.read_bytes(), str(photo))))


def _text(value: Any) -> str:
    """Return an option's value as spelt in a request, without rounding."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _request_mask(client: Client, options: Mapping[str, str], photo: bytes, name: str) -> Image.Image:
    """Return the server's palette PNG for `photo`."""
    try:
        answer = client.segment(photo, {**options, "format": "png"}, FORMATS["png"].content_type)
        picture = Image.open(io.BytesIO(answer), formats=["PNG"])
        picture.load()
    except AnswerError as error:
        raise PredictionError(str(error) if error.affects_every_image else f"{client.url}: {name}: {error}") from error
    except OSError as error:
        raise PredictionError(f"{client.url}: {name}: {error}") from error
    if picture.mode != "P":
        raise PredictionError(f"{client.url}: {name}: answered a PNG of mode {picture.mode}, should be P")
    return picture

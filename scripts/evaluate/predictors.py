"""Where predictions come from: a checkpoint, an archive or a running server. All begin at the bytes of an image's file."""

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
from handler.network.engines.archive import GRAPH
from handler.options import InferenceOptions, ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model.strict import nearest
from scripts.client import AnswerError, Client
from scripts.errors import UserError
from scripts.served_model_config import ServedModelConfig
from scripts.yaml_file import read_mapping

#: Requests under way at once: enough that the server never waits for this side.
_IN_FLIGHT = 4


class PredictionError(UserError):
    """There is nothing to predict with, or an image could not be segmented."""


class Predictor(Protocol):
    """One model, however it is run."""

    @property
    def labels(self) -> Labels: ...

    @property
    def conditions(self) -> str:
        """How images are segmented, in words, as far as is known."""
        ...

    def label_maps(self, photos: Iterable[Path]) -> Iterator[LabelMap]:
        """The label map of each photograph, in order.

        Raises:
            PredictionError: one cannot be segmented.
        """
        ...


@dataclass(frozen=True)
class LocalPredictor:
    """A pipeline in this process."""

    pipeline: Pipeline
    settings: HandlerSettings
    #: In full.
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
                *([f"output stride {self.settings.output_stride}"] if self.settings.output_stride else []),
                f"{self.pipeline.engine.name} in {self.pipeline.engine.precision}",
            ]
        )

    def label_maps(self, photos: Iterable[Path]) -> Iterator[LabelMap]:
        for photo in photos:
            try:
                opened = open_image(photo.read_bytes(), self.settings.limits)
                image = opened.decode(self.pipeline.plan(opened.size, self.options).min_decode_size)
            except (SegmentationError, OSError) as error:
                raise PredictionError(f"{photo}: {error}") from error
            yield self.pipeline.segment(image, self.options).label_map


def load(path: Path, asked: InferenceOptions, **changes: Any) -> LocalPredictor:
    """The model in the file at `path`: a checkpoint as the handler's defaults would serve it, an archive by its own settings.

    Args:
        path: a checkpoint or an archive.
        asked: options; those that are not set in it (pydantic's `model_fields_set`) are what the settings say.
        changes: other values of `HandlerSettings`, such as `output_stride`, `engine` and `precision`; None changes nothing.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: the archive's model-config.yaml cannot.
        PredictionError: there is no such file, it is of no known kind, or no archive of this project; or a refinement is asked
            for that is not installed.
    """
    if path.suffix not in OPENERS:
        raise PredictionError(f"{path}: unknown kind of file {path.suffix!r}{nearest(path.suffix, OPENERS)}")
    if not path.is_file():
        raise PredictionError(f"{path}: no such file")
    with OPENERS[path.suffix](path) as (checkpoint, settings, archive):
        changed = {name: value for name, value in changes.items() if value is not None}
        if changed:
            # What an archive has ready is for its own settings.
            settings, archive = settings.model_copy(update=changed), None
        options = settings.inference.defaults.model_copy(update=asked.model_dump(exclude_unset=True))
        if options.refine == "crf":
            try:
                import_crf()
            except RefinementUnavailable as error:
                raise PredictionError("to refine by crf, pip install pydensecrf2") from error
        pipeline = Pipeline.load(checkpoint, settings, ModelIdentity(path.stem, ""), archive=archive, gpu_id=0)
        return LocalPredictor(pipeline, settings, options)


#: A checkpoint, the settings of its handler, and the folder of the archive that it is from, if it is.
Opened = tuple[Path, HandlerSettings, Path | None]


@contextmanager
def _checkpoint(path: Path) -> Iterator[Opened]:
    yield path, HandlerSettings(), None


@contextmanager
def _archive(path: Path) -> Iterator[Opened]:
    """What is in the archive, unpacked for a while."""
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


#: By the ending of a file.
OPENERS: dict[str, Callable[[Path], AbstractContextManager[Opened]]] = {
    ".safetensors": _checkpoint,
    ".mar": _archive,
}


@dataclass(frozen=True)
class ServerPredictor:
    """A running server, asked over HTTP."""

    client: Client
    #: Values by name.
    options: Mapping[str, str]
    labels: Labels
    conditions: str

    @classmethod
    def connect(cls, url: str, asked: InferenceOptions) -> "ServerPredictor":
        """Learn the class names from the server's answer for a small picture.

        Args:
            url: of the model's predictions.
            asked: options; those that are not set in it are left to the server's settings.

        Raises:
            AnswerError: the server does not answer.
            PredictionError: its answer is not a PNG that names its classes.
        """
        options = {name: _text(value) for name, value in asked.model_dump(exclude_unset=True).items()}
        conditions = ", ".join(["the server's settings", *(f"{name} {text}" for name, text in options.items())])
        probe = io.BytesIO()
        Image.new("RGB", (64, 64), "grey").save(probe, "PNG")
        client = Client(url, connections=_IN_FLIGHT)
        client.require_server()
        answer = _ask(client, options, probe.getvalue(), "a grey picture")
        colours = np.asarray(answer.getpalette("RGB"), np.uint8).reshape(-1, 3).tolist()
        try:
            names = tuple(json.loads(answer.info["classes"]))
        except (KeyError, json.JSONDecodeError) as error:
            raise PredictionError(f"{url}: its PNG does not say the class names in a text chunk 'classes'") from error
        palette = tuple((red, green, blue) for red, green, blue in colours[: len(names)])
        return cls(client, options, Labels(names, palette), conditions)

    def label_maps(self, photos: Iterable[Path]) -> Iterator[LabelMap]:
        waiting: deque[Future[LabelMap]] = deque()
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            for photo in photos:
                waiting.append(pool.submit(self._label_map, photo))
                if len(waiting) > _IN_FLIGHT:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _label_map(self, photo: Path) -> LabelMap:
        return np.asarray(_ask(self.client, self.options, photo.read_bytes(), str(photo)))


def _text(value: Any) -> str:
    """An option's value, exactly, as a request spells it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _ask(client: Client, options: Mapping[str, str], photo: bytes, name: str) -> Image.Image:
    """The palette PNG that the server answers `photo` with."""
    try:
        answer = client.ask(photo, {**options, "format": "png"}, FORMATS["png"].content_type)
        picture = Image.open(io.BytesIO(answer), formats=["PNG"])
        picture.load()
    except AnswerError as error:
        raise PredictionError(str(error) if error.affects_every_image else f"{client.url}: {name}: {error}") from error
    except OSError as error:
        raise PredictionError(f"{client.url}: {name}: {error}") from error
    if picture.mode != "P":
        raise PredictionError(f"{client.url}: {name}: answered a PNG of mode {picture.mode}, should be P")
    return picture

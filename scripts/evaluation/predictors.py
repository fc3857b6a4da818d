"""Where predictions come from: a checkpoint, an archive or a running server. All begin at the bytes of an image's file."""

import io
import json
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import requests
from PIL import Image, UnidentifiedImageError

from handler.encoders import ModelIdentity
from handler.errors import SegmentationError
from handler.image_io import decode_image
from handler.labelmap import LabelMap
from handler.labels import Labels
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings, Limits
from model.strict import nearest
from scripts.served_model_config import ServedModelConfig
from scripts.yaml_file import read_mapping

_TIMEOUT_S = 300
#: Requests under way at once: enough that the server never waits for this side.
_IN_FLIGHT = 4


class PredictionError(RuntimeError):
    """There is nothing to predict with, or an image could not be segmented."""


@dataclass(frozen=True)
class Averaging:
    """What the network sees of each image: one view, or the average of several."""

    #: Factors on the network's resolution; none: what the model is set to.
    scales: tuple[float, ...] = ()
    #: Mirror images too.
    flip: bool = False

    def headers(self) -> dict[str, str]:
        """As options of a request; what is not asked for is left to the server."""
        scales = {"X-Segment-Scales": ",".join(f"{scale:g}" for scale in self.scales)} if self.scales else {}
        return {**scales, **({"X-Segment-Flip": "true"} if self.flip else {})}

    def __str__(self) -> str:
        views = f"scales {', '.join(f'{scale:g}' for scale in self.scales)}" if self.scales else "single scale"
        return f"{views}, mirrored too" if self.flip else views


class Predictor(Protocol):
    """One model, however it is run."""

    @property
    def labels(self) -> Labels: ...

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
    limits: Limits

    @property
    def labels(self) -> Labels:
        return self.pipeline.labels

    def label_maps(self, photos: Iterable[Path]) -> Iterator[LabelMap]:
        for photo in photos:
            try:
                image = decode_image(photo.read_bytes(), self.limits)
            except (SegmentationError, OSError) as error:
                raise PredictionError(f"{photo}: {error}") from error
            yield self.pipeline.segment(image).label_map


def from_checkpoint(path: Path, averaging: Averaging, settings: HandlerSettings | None = None) -> LocalPredictor:
    """The checkpoint at `path`, as `settings` would serve it.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        PredictionError: `averaging` asks for more than one view.
    """
    # The one place where `averaging` meets the pipeline of this process, which sees one view of an image.
    if averaging != Averaging():
        raise PredictionError("--scales and --flip are only for --url: the pipeline in this process sees one view of an image")
    settings = settings or HandlerSettings()
    return LocalPredictor(Pipeline.load(path, settings, ModelIdentity(path.stem, "")), settings.limits)


def from_archive(path: Path, averaging: Averaging) -> LocalPredictor:
    """The checkpoint and the handler's settings of the model archive at `path`, run by this repository's handler.

    Raises:
        CheckpointError: its checkpoint cannot be used.
        ConfigurationError: its model-config.yaml cannot.
        PredictionError: it is no archive of this project, or `averaging` asks for more than one view.
    """
    with tempfile.TemporaryDirectory(prefix="deeplab-evaluate-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                model = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
                checkpoint, config = (Path(archive.extract(model[key], folder)) for key in ("serializedFile", "configFile"))
        except (OSError, zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
            raise PredictionError(f"{path}: not a model archive of this project: {error}") from error
        settings = ServedModelConfig.parse(read_mapping(config), source=f"{path}, {config.name}").handler
        return from_checkpoint(checkpoint, averaging, settings)


#: What can be loaded, by the ending of its file.
LOADERS: dict[str, Callable[[Path, Averaging], LocalPredictor]] = {".safetensors": from_checkpoint, ".mar": from_archive}


def load(path: Path, averaging: Averaging) -> LocalPredictor:
    """The model in the file at `path`.

    Raises:
        PredictionError: there is no such file or it is of no known kind; or as the loader of its kind.
    """
    if path.suffix not in LOADERS:
        raise PredictionError(f"{path}: unknown kind of file {path.suffix!r}{nearest(path.suffix, LOADERS)}")
    if not path.is_file():
        raise PredictionError(f"{path}: no such file")
    return LOADERS[path.suffix](path, averaging)


@dataclass(frozen=True)
class ServerPredictor:
    """A running server, asked over HTTP."""

    url: str
    headers: Mapping[str, str]
    labels: Labels

    @classmethod
    def connect(cls, url: str, averaging: Averaging) -> "ServerPredictor":
        """Learn the class names from the server's answer for a small picture.

        Raises:
            PredictionError: the server does not answer, or not as it should.
        """
        headers = {"Content-Type": "application/octet-stream", "X-Segment-Format": "png", **averaging.headers()}
        probe = io.BytesIO()
        Image.new("RGB", (64, 64), "grey").save(probe, "PNG")
        answer = _ask(url, headers, probe.getvalue(), "a grey picture")
        colours = np.asarray(answer.getpalette("RGB"), np.uint8).reshape(-1, 3).tolist()
        try:
            names = tuple(json.loads(answer.info["classes"]))
        except (KeyError, json.JSONDecodeError) as error:
            raise PredictionError(f"{url}: its PNG does not say the class names in a text chunk 'classes'") from error
        palette = tuple((red, green, blue) for red, green, blue in colours[: len(names)])
        return cls(url, headers, Labels(names, palette))

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
        return np.asarray(_ask(self.url, self.headers, photo.read_bytes(), str(photo)))


def _ask(url: str, headers: Mapping[str, str], photo: bytes, name: str) -> Image.Image:
    """The palette PNG that the server at `url` answers `photo` with."""
    try:
        response = requests.post(url, data=photo, headers=dict(headers), timeout=_TIMEOUT_S)
    except requests.RequestException as error:
        raise PredictionError(f"{url}: no answer for {name}: {error}") from error
    if response.status_code != requests.codes.ok:
        raise PredictionError(f"{url}: answered {response.status_code} for {name}: {' '.join(response.text.split())[:500]}")
    try:
        picture = Image.open(io.BytesIO(response.content), formats=["PNG"])
        picture.load()
    except UnidentifiedImageError as error:
        raise PredictionError(f"{url}: answered {name} by something other than a PNG") from error
    if picture.mode != "P":
        raise PredictionError(f"{url}: answered {name} by a PNG of mode {picture.mode}, should be P")
    return picture

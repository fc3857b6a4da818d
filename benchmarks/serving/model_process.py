"""A case without a server: its pipeline in a process of its own, as in a worker, so that memory and threads are its own too."""

import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from benchmarks.process_memory import Memory
from benchmarks.serving.timing import Pace, seconds_of
from handler.geometry import DecodedImage, RGBImage
from handler.image.decode import decode_image
from handler.limits import Limits
from handler.masks.label_map import LabelMap, make_label_map
from handler.network.explain import torch_threads
from handler.network.tiling import resize_to_network
from handler.options import AnswerOptions, ModelIdentity, SegmentationRequest
from handler.pipeline import Pipeline
from scripts.served_model_config import ServedModelConfig
from scripts.yaml_file import read_mapping

#: Of the child: what `_open` left there for the calls after it.
_opened: list[Pipeline] = []
TOTAL = "total"


@dataclass(frozen=True)
class LabelRuns:
    """Seconds from logits to labels at the image's size, and of the definition of what that is, by turns."""

    ours: list[float]
    #: torch's `interpolate(...).argmax(1)`.
    reference: list[float]
    #: Share of labels that are equal.
    agreement: float


class InProcess:
    """A child process that has an archive's model loaded, warm and idle between calls."""

    def __init__(self, archive: Path) -> None:
        """`archive` is the folder of one that is unpacked."""
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_open, initargs=(archive,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()

    def network_seconds(self, file: bytes, pace: Pace) -> list[float]:
        """Of the engine alone, for an image file that is decoded and resized already."""
        return self._pool.submit(_network_seconds, file, pace).result()

    def stage_seconds(self, file: bytes, answer_format: str, runs: int) -> list[dict[str, float]]:
        """Of each stage, and of all together ("total"), for each of so many answers; one more goes before them."""
        return self._pool.submit(_stage_seconds, file, answer_format, runs).result()

    def label_maps(self, images: Sequence[RGBImage]) -> list[LabelMap]:
        return self._pool.submit(_label_maps, images).result()

    def label_seconds(self, file: bytes, runs: int) -> LabelRuns:
        """Of the label map alone."""
        return self._pool.submit(_label_seconds, file, runs).result()

    def memory(self) -> Memory:
        return self._pool.submit(_memory).result()


def _open(archive: Path) -> None:
    model = json.loads((archive / "MAR-INF" / "MANIFEST.json").read_text())["model"]
    config = archive / model["configFile"]
    settings = ServedModelConfig.parse(read_mapping(config), source=str(config)).handler
    identity = ModelIdentity(model["modelName"], model["modelVersion"])
    pipeline = Pipeline.load(archive / model["serializedFile"], settings, identity, archive=archive)
    pipeline.warm_up()
    _opened.append(pipeline)


def _network_seconds(file: bytes, pace: Pace) -> list[float]:
    (pipeline,) = _opened
    seen = _seen(decode_image(file, Limits()))
    pipeline.engine.infer(seen)
    return seconds_of(lambda: pipeline.engine.infer(seen), pace)


def _seen(image: RGBImage) -> npt.NDArray[np.uint8]:
    """As the engine takes it."""
    (pipeline,) = _opened
    return np.stack([resize_to_network(DecodedImage.whole(image), pipeline.metadata.resize)])


def _stage_seconds(file: bytes, answer_format: str, runs: int) -> list[dict[str, float]]:
    (pipeline,) = _opened
    request = SegmentationRequest(file, answer=AnswerOptions.model_validate({"format": answer_format}))

    def run() -> dict[str, float]:
        stages: dict[str, float] = {}
        begun = time.perf_counter()
        pipeline.answer(request, lambda name, seconds: stages.update({name: stages.get(name, 0) + seconds}))
        taken = time.perf_counter() - begun
        return {**stages, TOTAL: taken}

    # As in a worker: OpenVINO has threads of its own.
    with torch_threads(1 if pipeline.engine.name == "openvino" else torch.get_num_threads()):
        return [run() for _ in range(runs + 1)][1:]


def _label_maps(images: Sequence[RGBImage]) -> list[LabelMap]:
    (pipeline,) = _opened
    return [pipeline.segment(image).label_map for image in images]


def _label_seconds(file: bytes, runs: int) -> LabelRuns:
    (pipeline,) = _opened
    image = decode_image(file, Limits())
    (height, width), dtype = image.shape[:2], pipeline.labels.dtype
    (logits,) = pipeline.engine.infer(_seen(image))
    grid = torch.from_numpy(logits)[None]

    def reference() -> LabelMap:
        values = F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
        return values.argmax(1)[0].numpy().astype(dtype)

    agreement = float(np.mean(make_label_map(logits, (height, width), dtype) == reference()))
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(runs):
        ours += seconds_of(lambda: make_label_map(logits, (height, width), dtype), Pace(3))
        theirs += seconds_of(reference, Pace(1))
    return LabelRuns(ours, theirs, agreement)


def _memory() -> Memory:
    return Memory.of(os.getpid())

"""Measure an archive's model without a server, in a separate process like a worker's, with its own memory and threads."""

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

from benchmarks.process_memory import ProcessMemory
from benchmarks.serving.timing import Pace, time_repetitions
from handler.geometry import DecodedImage, RGBImage
from handler.image.decode import decode_image
from handler.image.process import prepare_process
from handler.limits import Limits
from handler.masks.label_map import LabelMap, make_label_map
from handler.network.explain import torch_threads
from handler.network.tiling import resize_to_network
from handler.options import AnswerOptions, ModelIdentity, SegmentationRequest
from handler.pipeline import Pipeline
from scripts.served_model_config import ServedModelConfig
from scripts.yaml_file import read_mapping

TOTAL = "total"
#: In the child process, the pipeline that `_load` creates for all later calls.
_pipelines: list[Pipeline] = []


@dataclass(frozen=True)
class LabelTimes:
    """Seconds from logits to labels at the image's size, for two methods measured in turn."""

    bundle: list[float]
    #: torch's `interpolate(...).argmax(1)`.
    reference: list[float]
    #: Share of labels that are equal.
    agreement: float


class ModelProcess:
    """A child process with an archive's model loaded and warmed up; idle between calls."""

    def __init__(self, archive: Path, threads: int | None = None) -> None:
        """Start the process.

        Args:
            archive: the folder of an unpacked archive.
            threads: number of engine threads, or None for the archive's setting.
        """
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_load, initargs=(archive, threads))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()

    def network_seconds(self, file: bytes, pace: Pace) -> list[float]:
        """Time only the engine on an image file, which is decoded and resized beforehand."""
        return self._pool.submit(_network_seconds, file, pace).result()

    def stage_seconds(self, file: bytes, answer_format: str, runs: int) -> list[dict[str, float]]:
        """Time each stage of `runs` answers, and the whole answer under `TOTAL`, after one answer to warm up."""
        return self._pool.submit(_stage_seconds, file, answer_format, runs).result()

    def label_maps(self, images: Sequence[RGBImage]) -> list[LabelMap]:
        """Segment `images` and return their label maps."""
        return self._pool.submit(_label_maps, images).result()

    def label_times(self, file: bytes, runs: int) -> LabelTimes:
        """Time only the label map."""
        return self._pool.submit(_label_times, file, runs).result()

    def memory(self) -> ProcessMemory:
        return self._pool.submit(_memory).result()


def _load(archive: Path, threads: int | None) -> None:
    prepare_process()
    model = json.loads((archive / "MAR-INF" / "MANIFEST.json").read_text())["model"]
    config = archive / model["configFile"]
    settings = ServedModelConfig.parse(read_mapping(config), source=str(config)).handler
    if threads is not None:
        settings = settings.model_copy(update={"threads": threads})
    identity = ModelIdentity(model["modelName"], model["modelVersion"])
    pipeline = Pipeline.load(archive / model["serializedFile"], settings, identity, archive=archive)
    pipeline.warm_up()
    _pipelines.append(pipeline)


def _network_seconds(file: bytes, pace: Pace) -> list[float]:
    (pipeline,) = _pipelines
    pixels = _network_input(decode_image(file, Limits()))
    pipeline.engine.infer(pixels)
    return time_repetitions(lambda: pipeline.engine.infer(pixels), pace)


def _network_input(image: RGBImage) -> npt.NDArray[np.uint8]:
    (pipeline,) = _pipelines
    return np.stack([resize_to_network(DecodedImage.from_pixels(image), pipeline.metadata.resize)])


def _stage_seconds(file: bytes, answer_format: str, runs: int) -> list[dict[str, float]]:
    (pipeline,) = _pipelines
    request = SegmentationRequest(file, answer=AnswerOptions.model_validate({"format": answer_format}))

    def answer() -> dict[str, float]:
        stages: dict[str, float] = {}
        start = time.perf_counter()
        pipeline.answer(request, lambda name, seconds: stages.update({name: stages.get(name, 0) + seconds}))
        total = time.perf_counter() - start
        return {**stages, TOTAL: total}

    # As in a worker, since OpenVINO has its own threads.
    with torch_threads(1 if pipeline.engine.name == "openvino" else torch.get_num_threads()):
        return [answer() for _ in range(runs + 1)][1:]


def _label_maps(images: Sequence[RGBImage]) -> list[LabelMap]:
    (pipeline,) = _pipelines
    return [pipeline.segment(image).label_map for image in images]


def _label_times(file: bytes, runs: int) -> LabelTimes:
    (pipeline,) = _pipelines
    image = decode_image(file, Limits())
    (height, width), dtype = image.shape[:2], pipeline.labels.dtype
    (logits,) = pipeline.engine.infer(_network_input(image))
    grid = torch.from_numpy(logits)[None]

    def interpolate() -> LabelMap:
        values = F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
        return values.argmax(1)[0].numpy().astype(dtype)

    agreement = float(np.mean(make_label_map(logits, (height, width), dtype) == interpolate()))
    bundle: list[float] = []
    reference: list[float] = []
    for _ in range(runs):
        bundle += time_repetitions(lambda: make_label_map(logits, (height, width), dtype), Pace(3))
        reference += time_repetitions(interpolate, Pace(1))
    return LabelTimes(bundle, reference, agreement)


def _memory() -> ProcessMemory:
    return ProcessMemory.read(os.getpid())

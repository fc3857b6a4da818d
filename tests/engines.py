"""Fake engines with answers that can be worked out by hand, and a pipeline around them."""

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.geometry import Size
from handler.limits import Limits
from handler.network.engines import Engine, Logits, Pixels, Region
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.scheduler import Scheduler, make_scheduler
from handler.settings import InferenceSettings
from model import ResizePolicy
from tests.support import metadata


def build_pipeline(
    engine: Engine, *, policy: ResizePolicy | None = None, inference: InferenceSettings | None = None, **limits: int
) -> Pipeline:
    """Build a pipeline of three classes around `engine`; without a `policy`, images are resized to a long side of 64."""
    return Pipeline(
        engine,
        metadata(resize=policy or ResizePolicy(side="long", size=64)),
        ModelIdentity("m", "1"),
        Limits.model_validate(limits),
        inference or InferenceSettings(),
    )


def build_scheduler(engine: Engine, **arguments: Any) -> Scheduler:
    """Build a scheduler over a pipeline from `build_pipeline` with the same arguments."""
    return make_scheduler(build_pipeline(engine, **arguments))


class FakeEngine(Engine):
    """Records the batches it runs; a subclass computes their logits."""

    name = "test"
    precision = "float32"

    def __init__(self, max_batch: int = 4) -> None:
        self.max_batch = max_batch
        #: The number of images in each batch.
        self.batches: list[int] = []
        self.pixels_seen = 0

    def infer(self, pixels: Pixels) -> Logits:
        self.batches.append(len(pixels))
        self.pixels_seen += pixels[..., 0].size
        return self.logits(pixels)

    @abstractmethod
    def logits(self, pixels: Pixels) -> Logits:
        """Compute logits B×classes×h'×w' from uint8 RGB B×h×w×3."""


class MirrorEngine(FakeEngine):
    """Answers with the image itself: class 0 where red wins, 1 for green, 2 for blue. Fails on a black batch."""

    def logits(self, pixels: Pixels) -> Logits:
        if not pixels.any():
            raise RuntimeError("CUDA error at /secret/path.py:1")
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)


class StrideEngine(MirrorEngine):
    """Has one cell for every `stride`×`stride` pixels, and answers with the pixel in its middle."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def logits(self, pixels: Pixels) -> Logits:
        return super().logits(pixels[:, self.stride // 2 :: self.stride, self.stride // 2 :: self.stride])


class FadingEngine(MirrorEngine):
    """Is less certain the further right it looks, so an image and its mirror image get different answers."""

    def logits(self, pixels: Pixels) -> Logits:
        certainty = np.linspace(1 / 255, 0, pixels.shape[2], dtype=np.float32)
        return np.multiply(super().logits(pixels), certainty, dtype=np.float32)


class WhiteFailsEngine(MirrorEngine):
    """Fails if a white image is in the batch."""

    def logits(self, pixels: Pixels) -> Logits:
        if (pixels.min(axis=(1, 2, 3)) == 255).any():
            raise RuntimeError("out of memory")
        return super().logits(pixels)


class LastClassEngine(MirrorEngine):
    """Makes the label map itself, entirely of the last class."""

    def make_label_map(self, scores: Logits, size: Size, dtype: npt.DTypeLike) -> npt.NDArray[np.unsignedinteger]:
        return np.full(size, len(scores) - 1, dtype)


class HalvesEngine(FakeEngine):
    """Answers class 0 in the left half and class 1 in the right; its cells are 8×8 pixels."""

    def __init__(self) -> None:
        super().__init__(max_batch=1)

    def logits(self, pixels: Pixels) -> Logits:
        height, width = pixels.shape[1] // 8, pixels.shape[2] // 8
        logits = np.zeros((1, 3, height, width), np.float32)
        logits[:, 0, :, : width // 2] = logits[:, 1, :, width // 2 :] = 1
        return logits


class ColourEngine(FakeEngine):
    """Answers with the colours on a grid a quarter of the image's size, and explains a class by its colour."""

    has_gradients = True

    def logits(self, pixels: Pixels) -> Logits:
        return pixels.transpose(0, 3, 1, 2)[..., ::4, ::4].astype(np.float32)

    def class_activation(self, pixels: Pixels, choose: Callable[[Logits], Region]) -> tuple[Region, Logits]:
        logits = self.logits(pixels[None])[0]
        region = choose(logits)
        return region, logits[region.class_index]


class LanedEngine(MirrorEngine):
    """Offers two lanes that record their own batches."""

    def __init__(self, lane: Callable[[], FakeEngine] = lambda: MirrorEngine(max_batch=1)) -> None:
        super().__init__()
        self.lane_engines = [lane(), lane()]

    def lanes(self) -> Sequence[Engine]:
        return self.lane_engines


class ConcurrencyProbe:
    """Counts how many threads are in a block at once.

    A thread that enters waits up to `patience` seconds for a second one, and no longer once two have met. On a busy machine a
    second thread may arrive too late and be missed, but the count is never too high.
    """

    def __init__(self, patience: float = 0.2) -> None:
        self.peak = 0
        self._inside = 0
        self._patience = patience
        self._entered = threading.Condition()

    @contextmanager
    def watch(self) -> Iterator[None]:
        with self._entered:
            self._inside += 1
            self.peak = max(self.peak, self._inside)
            self._entered.notify_all()
            self._entered.wait_for(lambda: self.peak > 1, self._patience)
        try:
            yield
        finally:
            with self._entered:
                self._inside -= 1


class WatchedEngine(ColourEngine):
    """Reports every run and every explanation to a probe."""

    def __init__(self, probe: ConcurrencyProbe, max_batch: int = 1) -> None:
        super().__init__(max_batch)
        self.probe = probe

    def infer(self, pixels: Pixels) -> Logits:
        with self.probe.watch():
            return super().infer(pixels)

    def class_activation(self, pixels: Pixels, choose: Callable[[Logits], Region]) -> tuple[Region, Logits]:
        with self.probe.watch():
            return super().class_activation(pixels, choose)

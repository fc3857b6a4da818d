"""Concurrent requests: what may overlap and what must not."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from handler.answers import EncodedResponse
from handler.network.engines import Logits, Pixels, Region
from handler.options import AnswerOptions, InferenceOptions, ModelIdentity, SegmentationRequest
from handler.pipeline import Pipeline
from handler.scheduler import Outcome, make_scheduler
from handler.settings import HandlerSettings
from tests.engines import ConcurrencyProbe, LanedEngine, WatchedEngine, build_scheduler
from tests.support import CHECKPOINT, encode, noise

SIDE = 60
PHOTO = encode(noise(SIDE, SIDE))


@pytest.fixture
def probe() -> ConcurrencyProbe:
    return ConcurrencyProbe()


class ExplainingLanedEngine(LanedEngine):
    """An engine with lanes, which explains with one watched engine."""

    has_gradients = True

    def __init__(self, probe: ConcurrencyProbe) -> None:
        super().__init__()
        self._gradients = WatchedEngine(probe)

    def class_activation(self, pixels: Pixels, choose: Callable[[Logits], Region]) -> tuple[Region, npt.NDArray[np.float32]]:
        return self._gradients.class_activation(pixels, choose)


@pytest.fixture
def watched_crf(monkeypatch: pytest.MonkeyPatch, probe: ConcurrencyProbe) -> None:
    """Replace the dense CRF's package with one that reports every inference to `probe` and returns its input."""

    class DenseCRF2D:
        def __init__(self, *_: int) -> None: ...

        def setUnaryEnergy(self, unary: npt.NDArray[np.float32]) -> None:  # noqa: N802 (the package's spelling)
            self.unary = unary

        def addPairwiseGaussian(self, **_: object) -> None: ...  # noqa: N802

        def addPairwiseBilateral(self, **_: object) -> None: ...  # noqa: N802

        def inference(self, _: int) -> npt.NDArray[np.float32]:
            with probe.watch():
                return np.exp(-self.unary)

    package, densecrf, utils = (ModuleType(f"pydensecrf{name}") for name in ("", ".densecrf", ".utils"))
    vars(package).update(densecrf=densecrf, utils=utils)
    vars(densecrf).update(DenseCRF2D=DenseCRF2D)
    vars(utils).update(
        unary_from_softmax=lambda probabilities: -np.log(probabilities.clip(1e-5).reshape(len(probabilities), -1))
    )
    for module in (package, densecrf, utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_images_that_exceed_the_pixel_budget_together_are_processed_in_turn(probe: ConcurrencyProbe) -> None:
    engine = LanedEngine(lambda: WatchedEngine(probe))

    outcomes = build_scheduler(engine, max_pixels=2 * SIDE**2 - 1).answer([request()] * 4)

    assert_answered(outcomes)
    assert probe.peak == 1


def test_images_within_the_pixel_budget_are_processed_concurrently() -> None:
    probe = ConcurrencyProbe(patience=30)
    engine = LanedEngine(lambda: WatchedEngine(probe))

    outcomes = build_scheduler(engine, max_pixels=2 * SIDE**2).answer([request()] * 2)

    assert_answered(outcomes)
    assert probe.peak == 2


@pytest.mark.usefixtures("watched_crf")
def test_refinements_run_in_turn(probe: ConcurrencyProbe) -> None:
    outcomes = build_scheduler(LanedEngine()).answer([request(refine="crf")] * 4)

    assert_answered(outcomes)
    assert probe.peak == 1


def test_explanations_run_in_turn(probe: ConcurrencyProbe) -> None:
    explanation = SegmentationRequest(PHOTO, explain=True)

    outcomes = build_scheduler(ExplainingLanedEngine(probe)).answer([explanation] * 4)

    assert_answered(outcomes)
    assert probe.peak == 1


def test_threads_that_share_an_engine_run_it_in_turn(probe: ConcurrencyProbe) -> None:
    scheduler = build_scheduler(WatchedEngine(probe, max_batch=4))

    assert_answered(answer_in_threads(lambda: scheduler.answer([request()])[0]))
    assert probe.peak == 1


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_threads_that_share_a_scheduler_get_the_answers_of_one_thread(converted: Path, engine: str, lanes: int) -> None:
    scheduler = make_scheduler(load(converted, engine, lanes))
    (expected,) = scheduler.answer([request()])

    outcomes = answer_in_threads(lambda: scheduler.answer([request()])[0])

    assert outcomes == [expected] * len(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_threads_that_share_a_pipeline_get_the_answers_of_one_thread(converted: Path, engine: str) -> None:
    pipeline = load(converted, engine)
    expected = pipeline.answer(request())

    outcomes = answer_in_threads(lambda: pipeline.answer(request()))

    assert outcomes == [expected] * len(outcomes)


def load(folder: Path, engine: str, lanes: int = 1) -> Pipeline:
    settings = HandlerSettings.model_validate({"engine": engine, "precision": "float32", "threads": 2})
    return Pipeline.load(folder / CHECKPOINT, settings, ModelIdentity("m", "1"), archive=folder, lanes=lanes)


def answer_in_threads(answer: Callable[[], Outcome], threads: int = 4, times: int = 3) -> list[Outcome]:
    """Call `answer` several times in each of several threads that start together."""
    start = Barrier(threads, timeout=60)

    def run(_: int) -> list[Outcome]:
        start.wait()
        return [answer() for _ in range(times)]

    with ThreadPoolExecutor(threads) as pool:
        return [outcome for outcomes in pool.map(run, range(threads)) for outcome in outcomes]


def request(**inference: object) -> SegmentationRequest:
    return SegmentationRequest(PHOTO, InferenceOptions.model_validate(inference), AnswerOptions(format="png"))


def assert_answered(outcomes: Sequence[Outcome]) -> None:
    assert [type(outcome) for outcome in outcomes] == [EncodedResponse] * len(outcomes), outcomes

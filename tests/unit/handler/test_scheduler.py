import threading

import numpy as np
import pytest

from handler.answers import EncodedResponse
from handler.errors import InternalError
from handler.network.engines import Logits, Pixels
from handler.options import SegmentationRequest
from handler.scheduler import Outcome, PixelBudget, Scheduler
from tests.engines import LanedEngine, MirrorEngine, build_scheduler
from tests.support import encode, noise

BLACK = np.zeros((8, 8, 3), np.uint8)


class MeetingEngine(MirrorEngine):
    """A lane that runs only while another lane runs."""

    def __init__(self, meeting: threading.Barrier) -> None:
        super().__init__(max_batch=1)
        self.meeting = meeting

    def logits(self, pixels: Pixels) -> Logits:
        self.meeting.wait()
        return super().logits(pixels)


class SingleThreadedEngine(MirrorEngine):
    """A lane that fails if two threads use it at once."""

    def __init__(self) -> None:
        super().__init__(max_batch=1)
        self.in_use = threading.Lock()

    def logits(self, pixels: Pixels) -> Logits:
        if not self.in_use.acquire(blocking=False):
            raise RuntimeError("two threads use one lane")
        try:
            threading.Event().wait(0.001)
            return super().logits(pixels)
        finally:
            self.in_use.release()


def request(size: int = 8) -> SegmentationRequest:
    return SegmentationRequest(encode(noise(size, size)))


def answer_in_threads(scheduler: Scheduler, requests: list[SegmentationRequest]) -> list[Outcome]:
    """Answer each request in a separate thread."""
    outcomes: list[Outcome] = []

    def answer(single: SegmentationRequest) -> None:
        outcomes.extend(scheduler.answer([single]))

    threads = [threading.Thread(target=answer, args=[single]) for single in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_outcomes_keep_the_order_of_the_requests() -> None:
    sizes = [5, 9, 7, 3, 8]

    outcomes = build_scheduler(LanedEngine()).answer([request(size) for size in sizes])

    for outcome, size in zip(outcomes, sizes, strict=True):
        assert isinstance(outcome, EncodedResponse)
        assert f'"width":{size},'.encode() in outcome.body


def test_two_requests_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=60)

    outcomes = build_scheduler(LanedEngine(lambda: MeetingEngine(meeting))).answer([request(), request()])

    assert [type(outcome) for outcome in outcomes] == [EncodedResponse] * 2


def test_no_lane_is_used_by_two_requests_at_once() -> None:
    outcomes = build_scheduler(LanedEngine(SingleThreadedEngine)).answer([request()] * 30)

    assert {type(outcome) for outcome in outcomes} == {EncodedResponse}


@pytest.mark.parametrize("make_engine", [MirrorEngine, lambda: LanedEngine(SingleThreadedEngine)], ids=["batches", "lanes"])
def test_several_threads_may_share_a_scheduler(make_engine: type[MirrorEngine]) -> None:
    scheduler = build_scheduler(make_engine())
    expected = scheduler.answer([request()])[0]

    assert answer_in_threads(scheduler, [request()] * 20) == [expected] * 20


def test_a_lane_survives_a_failed_request() -> None:
    scheduler = build_scheduler(LanedEngine())

    failures = scheduler.answer([SegmentationRequest(encode(BLACK))] * 4)
    answers = scheduler.answer([request()] * 4)

    assert {type(outcome) for outcome in failures} == {InternalError}
    assert {type(outcome) for outcome in answers} == {EncodedResponse}


def test_a_lone_holder_may_exceed_the_budget() -> None:
    with PixelBudget(10).hold(1000):
        pass


def test_a_holder_above_the_budget_waits_for_a_release() -> None:
    budget = PixelBudget(10)
    order = []

    def second() -> None:
        with budget.hold(5):
            order.append("second")

    with budget.hold(6):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.05)
        order.append("first")
    waiting.join(60)

    assert order == ["first", "second"]


def test_holders_within_the_budget_do_not_wait() -> None:
    budget = PixelBudget(10)

    with budget.hold(5), budget.hold(5):
        pass

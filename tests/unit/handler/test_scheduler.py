import threading

import numpy as np
import numpy.typing as npt
import pytest

from handler.network.engines import Engine
from handler.scheduler import Lanes, PixelBudget


class NumberedEngine:
    """Knows how many use it at once."""

    name = "test"
    precision = "float32"
    max_batch = 1

    def __init__(self) -> None:
        self.users = 0

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        raise NotImplementedError


def test_work_is_done_in_order_of_its_results() -> None:
    lanes: Lanes[int, int] = Lanes([NumberedEngine(), NumberedEngine()], lambda work, _: work * 10)

    assert lanes.map(range(7)) == [0, 10, 20, 30, 40, 50, 60]


def test_two_pieces_of_work_go_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=30)
    lanes: Lanes[str, int] = Lanes([NumberedEngine(), NumberedEngine()], lambda _work, _engine: both.wait())

    assert sorted(lanes.map("ab")) == [0, 1]


def test_no_engine_is_used_by_two_at_once() -> None:
    engines = [NumberedEngine(), NumberedEngine()]

    def use(_: int, engine: Engine) -> int:
        assert isinstance(engine, NumberedEngine)
        engine.users += 1
        alone = engine.users
        threading.Event().wait(0.001)
        engine.users -= 1
        return alone

    assert set(Lanes(engines, use).map(range(50))) == {1}


def test_a_lane_that_failed_works_on() -> None:
    lanes: Lanes[int, int] = Lanes([NumberedEngine()], lambda work, _: 1 // work)

    with pytest.raises(ZeroDivisionError):
        lanes.map([0])

    assert lanes.map([1, 1]) == [1, 1]


def test_who_is_alone_may_hold_more_than_the_budget() -> None:
    with PixelBudget(10).share() as take:
        take(1000)


def test_what_does_not_fit_waits_until_others_are_done() -> None:
    budget = PixelBudget(10)
    order = []

    def second() -> None:
        with budget.share() as take:
            take(5)
            order.append("second")

    with budget.share() as take:
        take(6)
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.05)
        order.append("first")
    waiting.join(30)

    assert order == ["first", "second"]


def test_what_fits_does_not_wait() -> None:
    budget = PixelBudget(10)

    with budget.share() as one, budget.share() as other:
        one(5)
        other(5)

import threading
from collections.abc import Iterator
from threading import Barrier, Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.segment.concurrency import in_flight


@given(st.lists(st.integers()), st.integers(1, 5))
def test_every_item_comes_back_once(items: list[int], jobs: int) -> None:
    assert sorted(in_flight(lambda item: item, items, jobs)) == sorted(items)


def test_items_are_done_at_once() -> None:
    meeting = Barrier(3)

    assert len(list(in_flight(lambda _: meeting.wait(30), range(3), 3))) == 3


def test_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_flight(lambda item: item, items(), 3)
    next(results)
    results.close()

    assert len(taken) <= 4


def test_an_error_is_raised_where_results_are_taken() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_flight(lambda item: 1 / item, [0], 2))


def test_whoever_stops_waits_for_nothing() -> None:
    held, started = Event(), Event()

    def work(item: int) -> int:
        if item:
            started.set()
            held.wait(30)
        return item

    results = in_flight(work, [0, 1], 2)
    assert next(results) == 0
    started.wait(30)
    results.close()

    assert not held.is_set()
    held.set()


def test_threads_end_with_the_work() -> None:
    before = set(threading.enumerate())

    list(in_flight(lambda item: item, range(10), 4))

    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()

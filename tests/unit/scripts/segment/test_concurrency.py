import threading
from collections.abc import Iterator
from threading import Barrier, Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.segment.concurrency import map_unordered


@given(st.lists(st.integers()), st.integers(1, 5))
def test_every_item_has_one_result(items: list[int], jobs: int) -> None:
    assert sorted(map_unordered(lambda item: item, items, jobs)) == sorted(items)


def test_items_are_processed_concurrently() -> None:
    barrier = Barrier(3)

    assert len(list(map_unordered(lambda _: barrier.wait(30), range(3), 3))) == 3


def test_items_are_consumed_as_they_are_needed() -> None:
    consumed: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            consumed.append(number)
            yield number

    results = map_unordered(lambda item: item, items(), 3)
    next(results)
    results.close()

    assert len(consumed) <= 4


def test_an_error_is_raised_to_the_consumer() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_unordered(lambda item: 1 / item, [0], 2))


def test_closing_the_results_does_not_wait_for_running_items() -> None:
    release, started = Event(), Event()

    def work(item: int) -> int:
        if item:
            started.set()
            release.wait(30)
        return item

    results = map_unordered(work, [0, 1], 2)
    assert next(results) == 0
    started.wait(30)
    results.close()

    assert not release.is_set()
    release.set()


def test_threads_end_with_the_work() -> None:
    before = set(threading.enumerate())

    list(map_unordered(lambda item: item, range(10), 4))

    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()

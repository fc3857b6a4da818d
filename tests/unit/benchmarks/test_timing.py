import time

import pytest

from benchmarks.serving.timing import Pace, Spread, seconds_of


def test_a_spread_is_told_by_median_95th_percentile_and_ends() -> None:
    assert Spread.of(range(101)) == Spread(101, 50.0, 95.0, 0.0, 100.0)


def test_nothing_has_no_spread() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


def test_as_often_as_asked_where_no_time_is_asked_for() -> None:
    assert len(seconds_of(lambda: None, Pace(3))) == 3


def test_until_the_time_is_over() -> None:
    begun = time.perf_counter()

    seconds_of(lambda: None, Pace(1, 0.02))

    assert time.perf_counter() - begun >= 0.02

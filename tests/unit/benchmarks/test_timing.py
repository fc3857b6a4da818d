import time

import pytest

from benchmarks.serving.timing import Pace, Spread, time_repetitions


def test_a_spread_has_median_95th_percentile_and_extremes() -> None:
    assert Spread.of(range(101)) == Spread(101, 50.0, 95.0, 0.0, 100.0)


def test_no_values_have_no_spread() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


def test_a_pace_without_seconds_counts_repetitions() -> None:
    assert len(time_repetitions(lambda: None, Pace(3))) == 3


@pytest.mark.parametrize(
    ("repetitions", "seconds_ago", "done"), [(1, 100, False), (3, 0, False), (3, 100, True), (4, 100, True)]
)
def test_a_round_is_done_when_both_bounds_are_reached(repetitions: int, seconds_ago: float, done: bool) -> None:
    assert Pace(3, 50.0).done(repetitions, time.perf_counter() - seconds_ago) == done

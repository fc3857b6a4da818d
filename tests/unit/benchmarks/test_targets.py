import pytest

from benchmarks.serving.report.targets import Target, targets
from benchmarks.serving.results import Results
from tests.unit.benchmarks.support import BF16, FULL_RESULTS, ours, requests, stages


def found(results: Results, what: str) -> Target:
    (target,) = (each for each in targets(results) if each.what == what)
    return target


def test_what_was_not_measured_has_no_figure() -> None:
    assert {each.verdict for each in targets(Results())} == {"not measured"}


def test_a_speedup_above_the_bound_is_reached() -> None:
    target = found(FULL_RESULTS, "ResNet-50 in bfloat16, faster than TorchServe's handler")

    assert (target.asked, target.found, target.verdict) == ("≥ 7.0 ×", "10.0 ×", "reached")


def test_a_cost_above_the_bound_is_missed() -> None:
    target = found(Results(requests=requests(ours(BF16, 0.4, 0.3, 3.0))), "around the network, ResNet-50 in bfloat16")

    assert (target.found, target.verdict) == ("25 %", "missed")


def test_throughput_is_a_share_of_the_bare_engines() -> None:
    target = found(FULL_RESULTS, "8 clients, of the bare engine's throughput, ResNet-50 in bfloat16")

    assert target.figure == pytest.approx(98)


def test_another_precision_does_not_stand_in() -> None:
    assert found(FULL_RESULTS, "ResNet-50 in int8, faster than TorchServe's handler").figure is None


def test_a_small_photograph_does_not_stand_in_for_a_large_one() -> None:
    small = Results(stages=(stages((400, 300)),))

    assert found(small, "12 megapixels, JPEG to palette PNG, beyond the network").figure is None

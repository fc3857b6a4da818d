import pytest

from benchmarks.serving.report.targets import Target, targets
from benchmarks.serving.results import Results
from tests.unit.benchmarks.support import (
    BF16,
    FULL_RESULTS,
    answer_stages,
    bundle_requests,
    requests,
    server_comparison,
    worker_start,
)


def find_target(results: Results, name: str) -> Target:
    (target,) = (target for target in targets(results) if target.what == name)
    return target


def test_targets_without_results_have_no_figure() -> None:
    assert {target.verdict for target in targets(Results())} == {"not measured"}


def test_a_speedup_above_the_bound_is_reached() -> None:
    target = find_target(FULL_RESULTS, "ResNet-50 in bfloat16, faster than TorchServe's handler")

    assert (target.required, target.measured, target.verdict) == ("≥ 7.0 ×", "10.0 ×", "reached")


def test_a_cost_above_the_bound_is_missed() -> None:
    results = Results(requests=requests(bundle_requests(BF16, 0.4, 0.3, 3.0)))

    target = find_target(results, "share of a request outside the network, ResNet-50 in bfloat16")

    assert (target.measured, target.verdict) == ("25 %", "missed")


def test_throughput_is_a_share_of_the_bare_engines() -> None:
    target = find_target(FULL_RESULTS, "throughput of the bare engine reached with 8 clients, ResNet-50 in bfloat16")

    assert target.figure == pytest.approx(98)


@pytest.mark.parametrize(("seconds", "peak", "verdict"), [(2.4, 399_000_000, "reached"), (2.6, 401_000_000, "missed")])
def test_a_workers_start_and_memory_are_bounded(seconds: float, peak: int, verdict: str) -> None:
    results = Results(starts=(worker_start(seconds, peak),))

    ready = find_target(results, "worker's start to READY, default model")
    memory = find_target(results, "worker's peak memory when READY, default model")

    assert (ready.required, ready.verdict) == ("≤ 2.5 s", verdict)
    assert (memory.required, memory.verdict) == ("≤ 400 MB", verdict)


@pytest.mark.parametrize(("seconds", "per_second", "verdict"), [(0.0135, 91, "reached"), (0.0145, 89, "missed")])
def test_our_server_is_bounded_relative_to_the_bare_engine(seconds: float, per_second: float, verdict: str) -> None:
    results = Results(servers=server_comparison(seconds, per_second))

    overhead = find_target(results, "time of a request outside the network, default model, this server")
    throughput = find_target(results, "throughput of the bare engine reached with 8 clients, this server")

    assert (overhead.measured, overhead.verdict) == (f"{1000 * seconds - 10:.1f} ms", verdict)
    assert (throughput.measured, throughput.verdict) == (f"{per_second} %", verdict)


def test_another_precision_is_not_a_substitute() -> None:
    assert find_target(FULL_RESULTS, "ResNet-50 in int8, faster than TorchServe's handler").figure is None


def test_a_small_photograph_is_not_a_substitute_for_a_large_one() -> None:
    small = Results(stages=(answer_stages((400, 300)),))

    assert find_target(small, "12 megapixels, JPEG to palette PNG, outside the network").figure is None


def test_bulk_runs_are_measured_against_the_bare_engine() -> None:
    local = find_target(FULL_RESULTS, "images per second of the bare engine reached by scripts.bulk --engine local")
    ray = find_target(FULL_RESULTS, "images per second of the bare engine reached by scripts.bulk --engine ray")

    assert (local.required, local.measured, local.verdict) == ("≥ 95 %", "96 %", "reached")
    assert ray.verdict == "not measured"

"""Results as Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.serving.report.machine import Machine
from benchmarks.serving.report.targets import Target
from benchmarks.serving.results import EngineRun, LabelMaps, Requests, Results, Served, Stages, Start
from benchmarks.serving.sections.live_requests import BASELINE
from benchmarks.serving.timing import Spread


def report(results: Results, reached: Iterable[Target], machine: Machine, versions: Mapping[str, str]) -> str:
    """Everything, under headings."""
    return "\n\n".join(["# Benchmark", _conditions(machine, versions), *_sections(results), _targets(reached)]) + "\n"


def _sections(results: Results) -> Iterator[str]:
    if results.requests:
        yield _requests(results.requests)
        yield _around(results.requests)
    if results.stages:
        yield _stages(results.stages)
        yield "\n".join(_labels(each) for each in results.labels)
    if results.engines:
        yield _engines(results.engines)
    if results.starts:
        yield _starts(results.starts)


def _conditions(machine: Machine, versions: Mapping[str, str]) -> str:
    hardware = (
        f"{machine.processor}, {machine.cores} cores ({', '.join(machine.instructions) or 'none of the telling instructions'})"
    )
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{hardware}, {machine.memory_bytes / 1e9:.0f} GB of memory, {machine.system}; {used}. Times are medians (least–most)."
    )


def _requests(requests: Requests) -> str:
    head = ("", "1 client", "p95", "faster", f"{requests.clients} clients", "answer", "smaller", "same labels", "peak memory")
    network = requests.ours[0].case.network
    rows = [(f"{BASELINE}, {network}, torch float32", *_served(requests.baseline, "", "", ""))]
    for each in requests.ours:
        gain = each.gain
        gains = (f"{gain.faster:.1f} ×", f"{gain.smaller:,.0f} ×", _percent(gain.agreement, 2)) if gain else ("", "", "")
        rows.append((each.case.name, *_served(each.served, *gains)))
    return _section("Requests, live", head, rows)


def _served(each: Served, faster: str, smaller: str, same: str) -> tuple[str, ...]:
    alone, p95 = _ms(each.latency), f"{1000 * each.latency.p95:,.0f} ms"
    rate = f"{each.per_second.median:.2f} /s ({each.per_second.least:.2f}–{each.per_second.most:.2f})"
    return alone, p95, faster, rate, _size(each.answer_bytes), smaller, same, _size(each.memory.peak)


def _around(requests: Requests) -> str:
    head = ("", "request", "bare engine", "around it", "of the request", f"{requests.clients} clients, of the bare engine's")
    rows = [
        (
            each.case.name,
            _ms(each.served.latency),
            _ms(each.network),
            f"{1000 * each.around:.1f} ms",
            _percent(each.around_share),
            _percent(each.throughput_share),
        )
        for each in requests.ours
    ]
    return _section("Around the network", head, rows)


def _stages(found: Sequence[Stages]) -> str:
    names = list(dict.fromkeys(name for each in found for name in each.stages))
    rows = [
        (
            f"{each.case.name}, {each.size[0]}×{each.size[1]} JPEG of {_size(each.file_bytes)}, as {each.answer_format}",
            *(f"{1000 * each.stages[name].median:.1f}" if name in each.stages else "–" for name in names),
            f"{1000 * each.total.median:.1f}",
            _ms(each.beyond),
        )
        for each in found
    ]
    return _section("Stages, milliseconds", ("", *names, "total", "beyond the network"), rows)


def _labels(each: LabelMaps) -> str:
    what = f"Label map of {each.size[0]}×{each.size[1]}, {each.case.name}: {_ms(each.ours)}"
    reference = f"{each.speedup:.0f} times faster than interpolate and argmax, {_ms(each.reference)}"
    return f"{what}; {reference}; {_percent(each.agreement, 4)} of the labels equal."


def _engines(found: Sequence[EngineRun]) -> str:
    head = ("", "network", "faster", "labels equal", "resident", "peak, with the large photograph")
    first = {each.case.network: each for each in reversed(found)}
    rows = [
        (
            each.case.name,
            _ms(each.network),
            f"{first[each.case.network].network.median / each.network.median:.1f} ×",
            _percent(each.agreement, 2),
            _size(each.memory.resident),
            _size(each.memory.peak),
        )
        for each in found
    ]
    return _section("Engines", head, rows)


def _starts(found: Sequence[Start]) -> str:
    head = ("", "server to READY", "of it the worker", "resident")
    rows = [(each.case.name, _seconds(each.server), _seconds(each.worker), _size(each.resident)) for each in found]
    return _section("Start", head, rows)


def _targets(found: Iterable[Target]) -> str:
    rows = [(each.what, each.asked, each.found, each.verdict) for each in found]
    return _section("To reach", ("", "asked", "measured", ""), rows)


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([f"## {title}", "", *(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])])


def _ms(values: Spread) -> str:
    digits = 1 if values.median < 0.1 else 0
    median, least, most = (f"{1000 * value:,.{digits}f}" for value in (values.median, values.least, values.most))
    return f"{median} ms ({least}–{most})"


def _seconds(values: Spread) -> str:
    return f"{values.median:.1f} s ({values.least:.1f}–{values.most:.1f})"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} KB"

"""Write results as Markdown tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.serving.report.machine import Machine
from benchmarks.serving.report.targets import Target
from benchmarks.serving.results import (
    AnswerStages,
    BulkComparison,
    EngineRun,
    LabelMaps,
    LiveServer,
    ModelRun,
    Quality,
    Requests,
    Results,
    ServerComparison,
    WorkerStart,
)
from benchmarks.serving.sections.live_requests import BASELINE
from benchmarks.serving.timing import Spread


def write_report(results: Results, targets: Iterable[Target], machine: Machine, versions: Mapping[str, str]) -> str:
    """Return the whole report: conditions, a table per section, targets."""
    return "\n\n".join(["# Benchmark", _conditions(machine, versions), *_sections(results), _targets(targets)]) + "\n"


def _sections(results: Results) -> Iterator[str]:
    if results.servers:
        yield _servers(results.servers)
    if results.models:
        yield _models(results.models)
    if results.requests:
        yield _requests(results.requests)
        yield _overhead(results.requests)
    if results.stages:
        yield _stages(results.stages)
        yield "\n".join(_labels(maps) for maps in results.labels)
    if results.engines:
        yield _engines(results.engines)
    if results.starts:
        yield _starts(results.starts)
    if results.bulk:
        yield _bulk(results.bulk)


def _conditions(machine: Machine, versions: Mapping[str, str]) -> str:
    instructions = ", ".join(machine.instructions) or "no AVX2, AVX-512 or AMX"
    hardware = f"{machine.processor}, {machine.cores} cores ({instructions})"
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    system = f"{machine.memory_bytes / 1e9:.0f} GB of memory, {machine.system}"
    return f"{hardware}, {system}; {packages}. Times are medians (minimum–maximum)."


def _servers(comparison: ServerComparison) -> str:
    clients = f"{comparison.clients} clients"
    headings = ("", "1 client", "around the network", "around the pipeline", clients, "of the bare engine", "answer")
    rows = [
        (
            server.name,
            _ms(server.latency),
            f"{1000 * comparison.around_network(server):.1f} ms",
            f"{1000 * comparison.around_pipeline(server):.1f} ms",
            f"{server.per_second.median:.1f} /s",
            _percent(comparison.engine_share(server)),
            _size(server.answer_bytes),
            f"{server.first_answer_s:.1f} s",
            _size(server.first_resident),
            _size(server.resident),
        )
        for server in comparison.servers
    ]
    table = _section("Servers around one network", (*headings, "first answer", "memory then", "after all"), rows)
    return "\n".join([table, "", *_server_notes(comparison)])


def _server_notes(comparison: ServerComparison) -> Iterator[str]:
    network, in_process = _ms(comparison.network), _ms(comparison.in_process)
    yield f"{comparison.case.name}: the bare engine {network}, the whole answer as JSON without a server {in_process}."
    yield "The peers run the same weights at the same size in eager PyTorch, in float32. Memory: all processes, resident."
    if comparison.left_out:
        yield f"Not installed, so not measured: {', '.join(comparison.left_out)}."


def _models(runs: Sequence[ModelRun]) -> str:
    headings = ("", "request", "bare engine", "around it", "network's input", "mIoU", "pixels", "of", "checkpoint")
    rows = [
        (
            run.case.name,
            _ms(run.request),
            _ms(run.network),
            f"{1000 * run.around_network:.1f} ms",
            f"{run.input_size[0]}×{run.input_size[1]}",
            *_quality(run.quality),
            _size(run.checkpoint_bytes),
        )
        for run in runs
    ]
    return _section("Models, by the server without Java", headings, rows)


def _quality(quality: Quality | None) -> tuple[str, str, str]:
    if quality is None:
        return "–", "–", "–"
    pixels = "–" if quality.pixel_accuracy is None else _percent(quality.pixel_accuracy)
    return f"{quality.miou:.3f}", pixels, quality.data


def _requests(requests: Requests) -> str:
    headings = (
        "",
        "1 client",
        "p95",
        "faster",
        f"{requests.clients} clients",
        "answer",
        "smaller",
        "equal labels",
        "peak memory",
    )
    network = requests.bundle[0].case.network
    rows = [(f"{BASELINE}, {network}, torch float32", *_live(requests.baseline, "", "", ""))]
    for run in requests.bundle:
        gain = run.gain
        gains = (f"{gain.faster:.1f} ×", f"{gain.smaller:,.0f} ×", _percent(gain.agreement, 2)) if gain else ("", "", "")
        rows.append((run.case.name, *_live(run.live, *gains)))
    return _section("Requests, live", headings, rows)


def _live(server: LiveServer, faster: str, smaller: str, equal_labels: str) -> tuple[str, ...]:
    latency, p95 = _ms(server.latency), f"{1000 * server.latency.p95:,.0f} ms"
    rate = server.per_second
    rates = f"{rate.median:.2f} /s ({rate.minimum:.2f}–{rate.maximum:.2f})"
    return latency, p95, faster, rates, _size(server.answer_bytes), smaller, equal_labels, _size(server.memory.peak)


def _overhead(requests: Requests) -> str:
    clients = f"{requests.clients} clients, share of the bare engine's throughput"
    headings = ("", "request", "bare engine", "outside the network", "share of the request", clients)
    rows = [
        (
            run.case.name,
            _ms(run.live.latency),
            _ms(run.network),
            f"{1000 * run.overhead:.1f} ms",
            _percent(run.overhead_share),
            _percent(run.throughput_share),
        )
        for run in requests.bundle
    ]
    return _section("Outside the network", headings, rows)


def _stages(answers: Sequence[AnswerStages]) -> str:
    names = list(dict.fromkeys(name for answer in answers for name in answer.stages))
    rows = [
        (
            f"{answer.case.name}, {answer.size[0]}×{answer.size[1]} JPEG of {_size(answer.file_bytes)}, {answer.answer_format}",
            *(f"{1000 * answer.stages[name].median:.1f}" if name in answer.stages else "–" for name in names),
            f"{1000 * answer.total.median:.1f}",
            _ms(answer.overhead),
        )
        for answer in answers
    ]
    return _section("Stages, milliseconds", ("", *names, "total", "outside the network"), rows)


def _labels(maps: LabelMaps) -> str:
    bundle = f"Label map of {maps.size[0]}×{maps.size[1]}, {maps.case.name}: {_ms(maps.bundle)}"
    reference = f"{maps.speedup:.0f} times faster than interpolate and argmax, {_ms(maps.reference)}"
    return f"{bundle}; {reference}; {_percent(maps.agreement, 4)} of the labels equal."


def _engines(runs: Sequence[EngineRun]) -> str:
    headings = ("", "network", "faster", "equal labels", "resident", "peak, with the large photograph")
    reference_runs = {run.case.network: run for run in reversed(runs)}
    rows = [
        (
            run.case.name,
            _ms(run.network),
            f"{reference_runs[run.case.network].network.median / run.network.median:.1f} ×",
            _percent(run.agreement, 2),
            _size(run.memory.resident),
            _size(run.memory.peak),
        )
        for run in runs
    ]
    return _section("Engines", headings, rows)


def _starts(starts: Sequence[WorkerStart]) -> str:
    headings = ("", "server to READY", "worker alone", "resident when READY", "peak until READY", "peak without a server")
    rows = [
        (
            start.case.name,
            _seconds(start.server),
            _seconds(start.worker),
            _size(start.memory.resident),
            _size(start.memory.peak),
            _size(start.without_server.peak),
        )
        for start in starts
    ]
    return _section("Start", headings, rows)


def _bulk(comparison: BulkComparison) -> str:
    headings = ("", "images per second", "of the bare engine", f"of {comparison.jobs} bare engines", "the whole run")
    rows = [
        ("the bare engine, one process on all cores", _rate(comparison.bare_engine), "", "", ""),
        (f"the bare engine, {comparison.jobs} processes", _rate(comparison.bare_engines), "", "", ""),
    ]
    for run in comparison.runs:
        shares = _percent(comparison.share(run)), _percent(comparison.share_of_processes(run))
        rows.append((f"scripts.bulk --engine {run.engine}", _rate(run.per_second), *shares, _seconds(run.seconds)))
    notes = [f"{comparison.case.name}: {comparison.images} JPEG files to palette PNGs, {comparison.jobs} processes."]
    if comparison.left_out:
        notes.append(f"Not installed, so not measured: {', '.join(comparison.left_out)}.")
    return "\n".join([_section("Many images", headings, rows), "", *notes])


def _targets(targets: Iterable[Target]) -> str:
    rows = [(target.what, target.required, target.measured_before, target.measured, target.verdict) for target in targets]
    return _section("Targets", ("", "target", "before", "measured", ""), rows)


def _section(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([f"## {title}", "", *(f"| {' | '.join(cells)} |" for cells in [headings, ["---"] * len(headings), *rows])])


def _ms(values: Spread) -> str:
    digits = 1 if values.median < 0.1 else 0
    median, minimum, maximum = (f"{1000 * value:,.{digits}f}" for value in (values.median, values.minimum, values.maximum))
    return f"{median} ms ({minimum}–{maximum})"


def _rate(values: Spread) -> str:
    return f"{values.median:.1f} ({values.minimum:.1f}–{values.maximum:.1f})"


def _seconds(values: Spread) -> str:
    return f"{values.median:.1f} s ({values.minimum:.1f}–{values.maximum:.1f})"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} KB"

"""Results as a picture."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.serving.results import EngineRun, Requests, Results, Stages
from benchmarks.serving.sections.live_requests import BASELINE

_THEIRS, _INK = "#9aa3b2", "#2b3240"
#: Of ours by precision, from pale to strong.
_OURS = {"float32": "#8fb8de", "bfloat16": "#2563a8", "int8": "#143a66"}
_STAGES = {"decode": "#2563a8", "prepare": "#8fb8de", "network": "#d5d9e0", "label": "#e08a2e", "encode": "#5f9e6e"}
_OTHER_STAGE = "#8a6fb3"
_ROW_INCHES, _TITLE_INCHES = 0.27, 0.62
#: Of a panel's width, behind its longest bar.
_ROOM_FOR_VALUES = 0.25

#: Rows, and what draws them.
Panel = tuple[int, Callable[[Axes], None]]


def draw(path: Path, results: Results) -> None:
    """Write a PNG with a panel for each section that was run and has bars."""
    panels = list(_panels(results))
    inches = [_TITLE_INCHES + _ROW_INCHES * rows for rows, _ in panels]
    figure = Figure(figsize=(9, sum(inches)), dpi=120, layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=inches)[:, 0]
    for (_, paint), axis in zip(panels, axes, strict=True):
        paint(axis)
        axis.invert_yaxis()
        axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
        axis.tick_params(axis="y", length=0, labelsize=9, labelcolor=_INK)
        # Every bar says its value.
        axis.xaxis.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def _panels(results: Results) -> Iterator[Panel]:
    if results.requests:
        requests = results.requests
        yield 1 + len(requests.ours), lambda axis: _draw_latencies(axis, requests)
        yield 1 + len(requests.ours), lambda axis: _draw_rates(axis, requests)
    if results.stages:
        yield len(results.stages), lambda axis: _draw_stages(axis, results.stages)
    if results.engines:
        yield len(results.engines), lambda axis: _draw_engines(axis, results.engines)


def _draw_latencies(axis: Axes, requests: Requests) -> None:
    sides = [requests.baseline, *(each.served for each in requests.ours)]
    values = [f"{1000 * side.latency.median:,.0f} ms, {side.answer_bytes / 1e3:,.0f} KB" for side in sides]
    _bars(axis, _names(requests), [side.latency.median for side in sides], values, _colours(requests))
    _title(axis, "A request, one client: median, and bytes of its answer (log scale)")


def _draw_rates(axis: Axes, requests: Requests) -> None:
    sides = [requests.baseline, *(each.served for each in requests.ours)]
    values = [f"{side.per_second.median:,.2f} /s" for side in sides]
    _bars(axis, _names(requests), [side.per_second.median for side in sides], values, _colours(requests))
    _title(axis, f"Requests, {requests.clients} clients: answers per second (log scale)")


def _names(requests: Requests) -> list[str]:
    network = requests.ours[0].case.network
    return [f"{BASELINE}, {network}", *(each.case.name for each in requests.ours)]


def _colours(requests: Requests) -> list[str]:
    return [_THEIRS, *(_OURS[each.case.precision] for each in requests.ours)]


def _draw_engines(axis: Axes, runs: Sequence[EngineRun]) -> None:
    medians = [each.network.median for each in runs]
    values = [f"{1000 * median:,.0f} ms" for median in medians]
    _bars(axis, [each.case.name for each in runs], medians, values, [_OURS[each.case.precision] for each in runs])
    _title(axis, "The network alone: median (log scale)")


def _bars(axis: Axes, names: Sequence[str], lengths: Sequence[float], values: Sequence[str], colours: Sequence[str]) -> None:
    """Horizontal bars with their values behind them."""
    rows = range(len(lengths))
    axis.set_xscale("log")
    axis.barh(rows, lengths, height=0.7, color=colours)
    axis.set_yticks(rows, names)
    shortest, longest = min(lengths) / 3, max(lengths)
    axis.set_xlim(shortest, longest * (longest / shortest) ** (_ROOM_FOR_VALUES / (1 - _ROOM_FOR_VALUES)))
    for row, length, value in zip(rows, lengths, values, strict=True):
        _value(axis, length, row, value)


def _draw_stages(axis: Axes, found: Sequence[Stages]) -> None:
    names = list(dict.fromkeys(name for each in found for name in each.stages))
    rows = range(len(found))
    ends = [0.0] * len(found)
    for name in names:
        widths = [each.stages[name].median if name in each.stages else 0.0 for each in found]
        axis.barh(rows, widths, left=ends, height=0.7, color=_STAGES.get(name, _OTHER_STAGE), label=name)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for row, end, each in zip(rows, ends, found, strict=True):
        _value(axis, end, row, f"{1000 * each.total.median:,.0f} ms, {1000 * each.beyond.median:,.0f} beyond the network")
    axis.set_yticks(rows, [f"{each.case.network}, {each.size[0]}×{each.size[1]}, {each.answer_format}" for each in found])
    # The values here are longer.
    axis.set_xlim(0, max(ends) / (1 - 1.4 * _ROOM_FOR_VALUES))
    place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": len(names), "borderaxespad": 0}
    axis.legend(**place, frameon=False, fontsize=8, columnspacing=1.2, handlelength=1, handletextpad=0.5)
    _title(axis, "Stages of an answer")


def _value(axis: Axes, end: float, row: int, text: str) -> None:
    axis.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center", size=9, color=_INK)


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, loc="left", size=10, color=_INK, weight="bold")

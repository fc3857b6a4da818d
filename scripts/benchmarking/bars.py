"""Results as a picture."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.benchmarking.requests_live import BASELINE
from scripts.benchmarking.results import EngineRun, Requests, Results, Stages

_THEIRS, _OURS, _INK = "#9aa3b2", "#2563a8", "#2b3240"
_STAGES = {"decode": "#2563a8", "prepare": "#6aa5d8", "network": "#c9ced8", "label": "#e08a2e", "encode": "#5f9e6e"}
_OTHER = "#8a6fb3"
_ROW_INCHES = 0.36

#: Height in rows, and what draws it.
Panel = tuple[int, Callable[[Axes], None]]


def draw(path: Path, results: Results) -> None:
    """Write a PNG with a panel for each section that was run and has bars; all times are milliseconds."""
    panels = list(_panels(results))
    heights = [1.6 + rows for rows, _ in panels]
    figure = Figure(figsize=(9, 0.4 + _ROW_INCHES * sum(heights) + 0.5 * len(panels)), dpi=120, layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for (_, paint), axis in zip(panels, axes, strict=True):
        paint(axis)
        axis.invert_yaxis()
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0, labelsize=9)
        axis.tick_params(axis="x", labelsize=8, colors="#6b7280")
        axis.set_axisbelow(True)
        axis.grid(axis="x", color="#e6e9ee")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def _panels(results: Results) -> Iterator[Panel]:
    if results.requests:
        requests = results.requests
        yield 1 + len(requests.ours), lambda axis: _draw_requests(axis, requests)
        yield 1 + len(requests.ours), lambda axis: _draw_answers(axis, requests)
    if results.stages:
        yield len(results.stages), lambda axis: _draw_stages(axis, results.stages)
    if results.engines:
        yield len(results.engines), lambda axis: _draw_engines(axis, results.engines)


def _draw_requests(axis: Axes, requests: Requests) -> None:
    sides = [requests.baseline, *(each.served for each in requests.ours)]
    _bars(axis, _names(requests), [1000 * side.latency.median for side in sides], "{:,.0f} ms", first=_THEIRS)
    _title(axis, "One request, live (median, log scale)")


def _draw_answers(axis: Axes, requests: Requests) -> None:
    sides = [requests.baseline, *(each.served for each in requests.ours)]
    _bars(axis, _names(requests), [side.answer_bytes / 1e3 for side in sides], "{:,.0f} KB", first=_THEIRS)
    _title(axis, "Its answer (log scale)")


def _draw_engines(axis: Axes, runs: Sequence[EngineRun]) -> None:
    _bars(axis, [each.case.name for each in runs], [1000 * each.network.median for each in runs], "{:,.0f} ms", first=_OURS)
    _title(axis, "The network alone (median, log scale)")


def _names(requests: Requests) -> list[str]:
    network = requests.ours[0].case.network
    return [f"{BASELINE}\n{network}, torch float32", *(each.case.name for each in requests.ours)]


def _bars(axis: Axes, names: Sequence[str], values: Sequence[float], spelling: str, *, first: str) -> None:
    """Horizontal bars with their values behind them, the first in a colour of its own."""
    rows = range(len(values))
    axis.set_xscale("log")
    axis.barh(rows, values, height=0.62, color=[first, *[_OURS] * (len(values) - 1)])
    axis.set_yticks(rows, names)
    axis.set_xlim(min(values) / 3, max(values) * 3)
    axis.xaxis.set_major_formatter("{x:,.3g}")
    for row, value in zip(rows, values, strict=True):
        axis.annotate(spelling.format(value), (value, row), (4, 0), textcoords="offset points", va="center", size=9, color=_INK)


def _draw_stages(axis: Axes, found: Sequence[Stages]) -> None:
    names = list(dict.fromkeys(name for each in found for name in each.stages))
    rows = range(len(found))
    left = [0.0] * len(found)
    for name in names:
        widths = [1000 * each.stages[name].median if name in each.stages else 0.0 for each in found]
        axis.barh(rows, widths, left=left, height=0.62, color=_STAGES.get(name, _OTHER), label=name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for row, end, each in zip(rows, left, found, strict=True):
        text = f"{1000 * each.total.median:,.0f} ms, {1000 * each.beyond.median:,.0f} of them beyond the network"
        axis.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center", size=9, color=_INK)
    axis.set_yticks(rows, [f"{each.size[0]}×{each.size[1]}, {each.answer_format}" for each in found])
    axis.set_xlim(0, 1.75 * max(left))
    axis.legend(loc="upper right", ncols=1, frameon=False, fontsize=8)
    _title(axis, f"Stages of an answer (medians; {found[0].case.name})")


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, loc="left", size=10, color=_INK, weight="bold")

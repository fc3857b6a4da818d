"""Draw results as horizontal bars."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.serving.results import AnswerStages, EngineRun, Requests, Results
from benchmarks.serving.sections.live_requests import BASELINE

_BASELINE_COLOUR, _INK = "#9aa3b2", "#2b3240"
#: Colours of this bundle by precision, from pale to dark.
_BUNDLE_COLOURS = {"float32": "#8fb8de", "bfloat16": "#2563a8", "int8": "#143a66"}
_STAGE_COLOURS = {"decode": "#2563a8", "prepare": "#8fb8de", "network": "#d5d9e0", "label": "#e08a2e", "encode": "#5f9e6e"}
_OTHER_STAGE_COLOUR = "#8a6fb3"
_ROW_INCHES, _TITLE_INCHES = 0.27, 0.62
#: Share of a panel's width reserved for the value after the longest bar.
_VALUE_MARGIN = 0.25

#: The number of rows and the function that draws them.
Panel = tuple[int, Callable[[Axes], None]]


def draw(path: Path, results: Results) -> None:
    """Write a PNG with a panel per section that was run."""
    panels = list(_panels(results))
    inches = [_TITLE_INCHES + _ROW_INCHES * rows for rows, _ in panels]
    figure = Figure(figsize=(9, sum(inches)), dpi=120, layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=inches)[:, 0]
    for (_, draw_panel), axis in zip(panels, axes, strict=True):
        draw_panel(axis)
        axis.invert_yaxis()
        axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
        axis.tick_params(axis="y", length=0, labelsize=9, labelcolor=_INK)
        # Every bar is labelled with its value.
        axis.xaxis.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def _panels(results: Results) -> Iterator[Panel]:
    if results.requests:
        requests = results.requests
        yield 1 + len(requests.bundle), lambda axis: _draw_latencies(axis, requests)
        yield 1 + len(requests.bundle), lambda axis: _draw_rates(axis, requests)
    if results.stages:
        yield len(results.stages), lambda axis: _draw_stages(axis, results.stages)
    if results.engines:
        yield len(results.engines), lambda axis: _draw_engines(axis, results.engines)


def _draw_latencies(axis: Axes, requests: Requests) -> None:
    sides = [requests.baseline, *(run.live for run in requests.bundle)]
    values = [f"{1000 * side.latency.median:,.0f} ms, {side.answer_bytes / 1e3:,.0f} KB" for side in sides]
    _bars(axis, _names(requests), [side.latency.median for side in sides], values, _colours(requests))
    _title(axis, "A request from one client: median time and size of the answer (log scale)")


def _draw_rates(axis: Axes, requests: Requests) -> None:
    sides = [requests.baseline, *(run.live for run in requests.bundle)]
    values = [f"{side.per_second.median:,.2f} /s" for side in sides]
    _bars(axis, _names(requests), [side.per_second.median for side in sides], values, _colours(requests))
    _title(axis, f"Requests, {requests.clients} clients: answers per second (log scale)")


def _names(requests: Requests) -> list[str]:
    network = requests.bundle[0].case.network
    return [f"{BASELINE}, {network}", *(run.case.name for run in requests.bundle)]


def _colours(requests: Requests) -> list[str]:
    return [_BASELINE_COLOUR, *(_BUNDLE_COLOURS[run.case.precision] for run in requests.bundle)]


def _draw_engines(axis: Axes, runs: Sequence[EngineRun]) -> None:
    medians = [run.network.median for run in runs]
    values = [f"{1000 * median:,.0f} ms" for median in medians]
    colours = [_BUNDLE_COLOURS[run.case.precision] for run in runs]
    _bars(axis, [run.case.name for run in runs], medians, values, colours)
    _title(axis, "The network alone: median (log scale)")


def _bars(axis: Axes, names: Sequence[str], lengths: Sequence[float], values: Sequence[str], colours: Sequence[str]) -> None:
    """Draw horizontal bars followed by their values."""
    rows = range(len(lengths))
    axis.set_xscale("log")
    axis.barh(rows, lengths, height=0.7, color=colours)
    axis.set_yticks(rows, names)
    shortest, longest = min(lengths) / 3, max(lengths)
    axis.set_xlim(shortest, longest * (longest / shortest) ** (_VALUE_MARGIN / (1 - _VALUE_MARGIN)))
    for row, length, value in zip(rows, lengths, values, strict=True):
        _write_value(axis, length, row, value)


def _draw_stages(axis: Axes, answers: Sequence[AnswerStages]) -> None:
    names = list(dict.fromkeys(name for answer in answers for name in answer.stages))
    rows = range(len(answers))
    ends = [0.0] * len(answers)
    for name in names:
        widths = [answer.stages[name].median if name in answer.stages else 0.0 for answer in answers]
        axis.barh(rows, widths, left=ends, height=0.7, color=_STAGE_COLOURS.get(name, _OTHER_STAGE_COLOUR), label=name)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for row, end, answer in zip(rows, ends, answers, strict=True):
        value = f"{1000 * answer.total.median:,.0f} ms, {1000 * answer.overhead.median:,.0f} outside the network"
        _write_value(axis, end, row, value)
    names_and_sizes = [
        f"{answer.case.network}, {answer.size[0]}×{answer.size[1]}, {answer.answer_format}" for answer in answers
    ]
    axis.set_yticks(rows, names_and_sizes)
    # These values are longer than the other panels'.
    axis.set_xlim(0, max(ends) / (1 - 1.4 * _VALUE_MARGIN))
    style = {"frameon": False, "fontsize": 8, "columnspacing": 1.2, "handlelength": 1, "handletextpad": 0.5}
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(names), borderaxespad=0, **style)
    _title(axis, "Stages of an answer")


def _write_value(axis: Axes, end: float, row: int, text: str) -> None:
    axis.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center", size=9, color=_INK)


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, loc="left", size=10, color=_INK, weight="bold")

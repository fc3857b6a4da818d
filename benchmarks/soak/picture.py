"""Draw samples over time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.soak.samples import Sample

_COLOURS = {"torchserve": "#e08a2e", "asgi": "#2563a8"}
_NAMES = {"torchserve": "TorchServe", "asgi": "server without Java"}


def draw(path: Path, runs: Mapping[str, Sequence[Sample]], max_memory: float) -> None:
    """Write a PNG with panels for the worker's memory, the front process's memory, descriptors and latency.

    Args:
        path: the file to write.
        runs: samples by server software.
        max_memory: the bound on an idle worker's memory in megabytes, drawn as a line.
    """
    figure = Figure(figsize=(9, 8), dpi=100, layout="constrained")
    worker, front, descriptors, latency = figure.subplots(4, 1, sharex=True)
    for software, samples in runs.items():
        minutes = [sample.elapsed / 60 for sample in samples]
        colour, name = _COLOURS[software], _NAMES[software]
        worker.plot(minutes, [sample.worker_memory for sample in samples], color=colour, label=f"{name}, at rest")
        peaks = [sample.worker_peak for sample in samples]
        worker.plot(minutes, peaks, color=colour, alpha=0.4, linewidth=0.8, label=f"{name}, peak")
        front.plot(minutes, [sample.front_memory for sample in samples], color=colour, label=name)
        descriptors.plot(minutes, [sample.worker_descriptors for sample in samples], color=colour, label=f"{name}, worker")
        fronts = [sample.front_descriptors for sample in samples]
        descriptors.plot(minutes, fronts, color=colour, linestyle="--", label=f"{name}, front")
        latency.plot(minutes, [1000 * sample.median for sample in samples], color=colour, label=name)
    worker.axhline(max_memory, color="#9aa3b2", linestyle=":")
    _finish(worker, "Memory of the worker, MB")
    _finish(front, "Memory of the front process, MB")
    _finish(descriptors, "Open descriptors")
    _finish(latency, "Median time of a request, ms")
    latency.set_xlabel("minutes")
    figure.savefig(path, format="png")


def _finish(axis: Axes, title: str) -> None:
    axis.set_title(title, loc="left", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7, frameon=False, ncols=2)

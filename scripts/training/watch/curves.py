"""Draw a run's loss, learning rates and scores over iterations in one picture."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.training.watch.run_log import EVALUATIONS, STEPS, read_table

Table = dict[str, list[float]]

_SCORES = {"miou": "mean IoU", "pixel_accuracy": "pixel accuracy", "boundary": "IoU at boundaries"}
#: Window of the smoothed loss, as a fraction of all steps.
_WINDOW = 1 / 50
_PALE, _GREY = "#c3cad5", "#5b6472"


def draw_curves(folder: Path, out: Path) -> None:
    """Draw the log that `RunLog` wrote into `folder` as a PNG, with scores if there are evaluations.

    Raises:
        FileNotFoundError: no step was logged.
    """
    steps, evaluations = read_table(folder / STEPS), read_table(folder / EVALUATIONS)
    if not steps.get("iteration"):
        raise FileNotFoundError(f"{folder / STEPS}: has no step to draw")
    panels: list[Callable[[Axes, Table, Table], None]] = [_draw_loss, _draw_learning_rates]
    if evaluations.get("iteration"):
        panels.append(_draw_scores)
    figure = Figure(figsize=(9, 1 + 2.6 * len(panels)), dpi=120, layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False, sharex=True, height_ratios=[2, 1, 2][: len(panels)])[:, 0]
    for draw, axis in zip(panels, axes, strict=True):
        draw(axis, steps, evaluations)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e6e9ee")
        axis.set_axisbelow(True)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False, borderaxespad=0.2)
    axes[-1].set_xlabel("iteration")
    axes[-1].set_xlim(left=0, right=max(*steps["iteration"], 1))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, format="png")


def smooth(values: Sequence[float], window: int) -> npt.NDArray[np.floating]:
    """Return the moving average over the `window` values around each value, or fewer at both ends."""
    kernel = np.ones(min(window, len(values)) // 2 * 2 + 1)

    def sums(addends: Sequence[float] | npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return np.convolve(addends, kernel)[len(kernel) // 2 :][: len(values)]

    return sums(values) / sums(np.ones(len(values)))


def _draw_loss(axis: Axes, steps: Table, _: Table) -> None:
    iterations, loss = steps["iteration"], steps["loss"]
    window = round(_WINDOW * len(loss))
    mean = smooth(loss, window)
    axis.plot(iterations, loss, color=_PALE, linewidth=0.6)
    axis.plot(iterations, mean, linewidth=1.8, label="loss")
    for name, values in steps.items():
        if name.startswith("loss/"):
            axis.plot(iterations, smooth(values, window), linewidth=1.2, label=name.removeprefix("loss/"))
    axis.set_ylabel("loss")
    finite = np.asarray(loss)[np.isfinite(loss)]
    if finite.size:
        # A few outliers must not flatten the rest.
        highest = max(np.percentile(finite, 99), *mean[np.isfinite(mean)], 0.01)
        axis.set_ylim(0, 1.05 * float(highest))


def _draw_learning_rates(axis: Axes, steps: Table, _: Table) -> None:
    for name, values in steps.items():
        if name.startswith("learning_rate/"):
            axis.plot(steps["iteration"], values, label=name.removeprefix("learning_rate/"))
    axis.set_ylabel("learning rate")
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter("{x:.2g}")


def _draw_scores(axis: Axes, _: Table, evaluations: Table) -> None:
    """Draw the scores; the legend shows the scores of the evaluation with the best mean IoU."""
    iterations, miou = evaluations["iteration"], evaluations["miou"]
    best = None if np.isnan(miou).all() else int(np.nanargmax(miou))
    for name, label in _SCORES.items():
        if np.isnan(evaluations[name]).all():
            continue
        best_score = "" if best is None else f" {evaluations[name][best]:.3f}"
        axis.plot(iterations, evaluations[name], marker="o", markersize=3.5, clip_on=False, label=label + best_score)
    if best is not None:
        axis.axvline(iterations[best], color=_GREY, linestyle=":", linewidth=1.2, label=f"best at {iterations[best]:.0f}")
    axis.set_ylabel("score")

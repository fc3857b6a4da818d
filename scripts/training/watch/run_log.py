"""Log a run's steps and evaluations to CSV files and TensorBoard."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

STEPS = "steps.csv"
EVALUATIONS = "evaluations.csv"
_EVENTS = "tensorboard"


@dataclass(frozen=True)
class StepRow:
    """One optimizer step."""

    iteration: int
    epoch: int
    loss: float
    #: Terms of the loss, by name.
    parts: Mapping[str, float] = field(default_factory=dict)
    #: Learning rates by parameter group.
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    #: Duration of the step, in seconds.
    seconds: float = 0.0

    def cells(self) -> dict[str, float]:
        """Cells by column."""
        parts = {f"loss/{name}": value for name, value in self.parts.items()}
        rates = {f"learning_rate/{name}": value for name, value in self.learning_rates.items()}
        return {"iteration": self.iteration, "epoch": self.epoch, "loss": self.loss, **parts, **rates, "seconds": self.seconds}


@dataclass(frozen=True)
class EvaluationRow:
    """Scores in 0..1, or NaN if the data have no such pixels."""

    iteration: int
    epoch: int
    miou: float
    pixel_accuracy: float
    #: Mean IoU near the edges of the truth.
    boundary: float = math.nan
    #: Intersection over union by class name.
    class_iou: Mapping[str, float] = field(default_factory=dict)

    def cells(self) -> dict[str, float]:
        """Cells by column."""
        scores = {"miou": self.miou, "pixel_accuracy": self.pixel_accuracy, "boundary": self.boundary}
        classes = {f"iou/{name}": value for name, value in self.class_iou.items()}
        return {"iteration": self.iteration, "epoch": self.epoch, **scores, **classes}


class RunLog:
    """Writes `steps.csv`, `evaluations.csv` and TensorBoard events into a folder, flushed after every row.

    Args:
        folder: created if missing.
        resumed_at: iteration from which a resumed run continues; later rows, which the interrupted run wrote after its last
            state, are dropped. None for a new run.

    Raises:
        FileExistsError: a new run's folder already holds a log.
    """

    def __init__(self, folder: Path, *, resumed_at: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._steps = _Table(folder / STEPS, resumed_at)
        self._evaluations = _Table(folder / EVALUATIONS, resumed_at)
        purge_step = None if resumed_at is None else resumed_at + 1
        self._events = SummaryWriter(str(folder / _EVENTS), purge_step=purge_step)

    def step(self, row: StepRow) -> None:
        """Append a row.

        Raises:
            ValueError: its columns differ from those of the rows before.
        """
        self._write(self._steps, row.cells(), row.iteration, "train")

    def evaluation(self, row: EvaluationRow) -> None:
        """Append a row.

        Raises:
            ValueError: its columns differ from those of the rows before.
        """
        self._write(self._evaluations, row.cells(), row.iteration, "evaluation")

    def close(self) -> None:
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _write(self, table: "_Table", cells: Mapping[str, float], iteration: int, tag: str) -> None:
        table.append(cells)
        for name, value in cells.items():
            if name != "iteration" and not math.isnan(value):
                self._events.add_scalar(f"{tag}/{name}", value, iteration)
        self._events.flush()


def read_table(path: Path) -> dict[str, list[float]]:
    """Read the columns of a CSV file that `RunLog` wrote, with NaN for empty cells; no columns if the file does not exist."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return {name: [float(cell or "nan") for cell in column] for name, column in zip(header, columns, strict=True)}


class _Table:
    """A CSV file whose first row determines the columns."""

    def __init__(self, path: Path, resumed_at: int | None) -> None:
        self._path = path
        self._columns: list[str] = []
        if not path.exists():
            return
        if resumed_at is None:
            raise FileExistsError(f"{path}: already holds the log of another run; use --resume or another folder")
        with path.open(newline="") as file:
            # A row cut off by an interrupted write has no line ending.
            header, *rows = list(csv.reader(line for line in file if line.endswith("\n"))) or [[]]
        self._columns = header
        earlier_rows = takewhile(lambda row: int(row[0]) <= resumed_at, rows)
        # Replaced atomically: an interrupted run leaves either the old log or the new one.
        part = path.with_suffix(".part")
        with part.open("w", newline="") as file:
            csv.writer(file).writerows([header, *earlier_rows] if header else [])
        part.replace(path)

    def append(self, cells: Mapping[str, float]) -> None:
        columns = list(cells)
        if self._columns and columns != self._columns:
            raise ValueError(f"{self._path}: row of {', '.join(columns)}, should be {', '.join(self._columns)}")
        rows: list[list[object]] = [["" if math.isnan(value) else value for value in cells.values()]]
        if not self._columns:
            rows.insert(0, list(columns))
            self._columns = columns
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerows(rows)

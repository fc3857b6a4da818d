import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scripts.training.watch.run_log import EVALUATIONS, STEPS, EvaluationRow, RunLog, StepRow, read_table


def step(iteration: int) -> StepRow:
    rates = {"backbone": 0.1 / iteration, "head": 1 / iteration}
    return StepRow(iteration, iteration // 4, 1 / iteration, {"dice": 1 / 3}, rates, 0.25)


def evaluation(iteration: int) -> EvaluationRow:
    return EvaluationRow(iteration, iteration // 4, 0.5, 0.75, class_iou={"cat, or dog": iteration / 100, "sofa": math.nan})


def write(folder: Path, first: int, last: int, resumed_at: int | None = None) -> None:
    """Log the given steps, and an evaluation after every fourth."""
    with RunLog(folder, resumed_at=resumed_at) as log:
        for iteration in range(first, last + 1):
            log.step(step(iteration))
            if iteration % 4 == 0:
                log.evaluation(evaluation(iteration))


def tables(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in (STEPS, EVALUATIONS)]


def test_a_step_is_a_row(tmp_path: Path) -> None:
    write(tmp_path, 1, 1)

    assert (tmp_path / STEPS).read_text().splitlines() == [
        "iteration,epoch,loss,loss/dice,learning_rate/backbone,learning_rate/head,seconds",
        "1,0,1.0,0.3333333333333333,0.1,1.0,0.25",
    ]


def test_an_evaluation_is_a_row_with_empty_cells_for_nan(tmp_path: Path) -> None:
    write(tmp_path, 4, 4)

    assert (tmp_path / EVALUATIONS).read_text().splitlines() == [
        'iteration,epoch,miou,pixel_accuracy,boundary,"iou/cat, or dog",iou/sofa',
        "4,1,0.5,0.75,,0.04,",
    ]


@pytest.mark.parametrize(("checkpoint", "interrupted_at"), [(8, 8), (8, 11), (4, 12), (6, 7)])
def test_a_resumed_runs_tables_equal_an_uninterrupted_ones(tmp_path: Path, checkpoint: int, interrupted_at: int) -> None:
    write(tmp_path / "uninterrupted", 1, 16)

    write(tmp_path / "resumed", 1, interrupted_at)
    write(tmp_path / "resumed", checkpoint + 1, 16, resumed_at=checkpoint)

    assert tables(tmp_path / "resumed") == tables(tmp_path / "uninterrupted")


@pytest.mark.parametrize("length", [1, 2, 20, 60])
def test_a_truncated_row_is_dropped(tmp_path: Path, length: int) -> None:
    write(tmp_path / "uninterrupted", 1, 14)
    write(tmp_path / "resumed", 1, 12)
    row = (tmp_path / "uninterrupted" / STEPS).read_bytes().splitlines(keepends=True)[-2]
    with (tmp_path / "resumed" / STEPS).open("ab") as file:
        file.write(row[:length])

    write(tmp_path / "resumed", 13, 14, resumed_at=12)

    assert tables(tmp_path / "resumed") == tables(tmp_path / "uninterrupted")


def test_a_run_resumed_before_its_first_row_starts_the_table(tmp_path: Path) -> None:
    write(tmp_path / "resumed", 1, 0)
    write(tmp_path / "resumed", 1, 4, resumed_at=0)
    write(tmp_path / "uninterrupted", 1, 4)

    assert tables(tmp_path / "resumed") == tables(tmp_path / "uninterrupted")


def test_tensorboard_shows_the_same_figures(tmp_path: Path) -> None:
    write(tmp_path, 1, 9)
    write(tmp_path, 7, 8, resumed_at=6)

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 9))
    assert [event.value for event in events.Scalars("evaluation/miou")] == [0.5, 0.5]
    assert "evaluation/iou/sofa" not in events.Tags()["scalars"]


def test_a_row_is_on_disk_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.step(step(1))

        assert read_table(tmp_path / STEPS)["iteration"] == [1]
        assert EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/loss")[0].step == 1


def test_a_new_run_does_not_overwrite_the_log_of_another(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)

    with pytest.raises(FileExistsError, match=r"steps\.csv.*--resume"):
        RunLog(tmp_path)


def test_columns_do_not_change_within_a_run(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.step(StepRow(1, 0, 0.5))

        with pytest.raises(ValueError, match=r"steps\.csv: .*loss/dice.* should be iteration, epoch, loss"):
            log.step(step(2))


@given(loss=st.floats(allow_nan=False, allow_infinity=False))
def test_figures_are_stored_exactly(tmp_path_factory: pytest.TempPathFactory, loss: float) -> None:
    folder = tmp_path_factory.mktemp("log")
    with RunLog(folder) as log:
        log.step(StepRow(1, 0, loss))

    assert read_table(folder / STEPS)["loss"] == [loss]


def test_a_table_that_does_not_exist_has_no_columns(tmp_path: Path) -> None:
    assert read_table(tmp_path / STEPS) == {}

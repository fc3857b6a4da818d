import itertools
import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.bulk.executors.base import Done, Lost
from scripts.bulk.executors.local import LocalExecutor
from scripts.bulk.run import Finished, Quarantined, TooManyLost, run_tasks
from scripts.errors import UserError
from tests.unit.scripts.bulk.stand_ins import PrepareTasks, exit_while_loading, fail_to_load


@pytest.fixture
def prepare(tmp_path: Path) -> PrepareTasks:
    return PrepareTasks(tmp_path / "prepared")


def test_tasks_run_in_processes_that_are_prepared_once(prepare: PrepareTasks) -> None:
    tasks = [f"task {number}" for number in range(20)]
    outcomes = list(LocalExecutor(2).run(prepare, tasks))
    assert sorted(outcome.task for outcome in outcomes) == sorted(tasks)
    assert all(outcome == Done(outcome.task, f"did {outcome.task}") for outcome in outcomes)
    assert len(prepare.log.read_text().split()) == 2
    assert str(os.getpid()) not in prepare.log.read_text()


def test_tasks_are_taken_only_as_processes_become_free(prepare: PrepareTasks) -> None:
    generated = 0

    def endless() -> Iterator[str]:
        nonlocal generated
        while True:
            generated += 1
            yield f"task {generated}"

    with closing(LocalExecutor(2).run(prepare, endless())) as outcomes:
        for reported in range(1, 30):
            next(outcomes)
            # In addition to the reported ones, one per process.
            assert generated <= reported + 2


def test_a_process_that_dies_is_replaced_and_its_task_is_reported_as_lost(prepare: PrepareTasks) -> None:
    outcomes = list(LocalExecutor(1).run(prepare, ["kill", "exit", "task"]))
    assert outcomes == [Lost("kill", "killed by SIGKILL"), Lost("exit", "exit status 3"), Done("task", "did task")]
    assert len(prepare.log.read_text().split()) == 3


def test_an_exception_of_a_task_ends_the_run_and_its_processes(prepare: PrepareTasks) -> None:
    with pytest.raises(EOFError, match="a bug in the task") as caught:
        list(LocalExecutor(2).run(prepare, ["sleep 0.1", "raise", *["task"] * 9]))
    assert "stand_ins.py" in caught.value.__notes__[0]
    assert not [pid for pid in prepare.log.read_text().split() if psutil.pid_exists(int(pid))]


def test_a_preparation_that_fails_ends_the_run_with_its_error() -> None:
    with pytest.raises(UserError, match="no such archive"):
        list(LocalExecutor(2).run(fail_to_load, ["task"]))


def test_processes_that_die_while_they_are_prepared_end_the_run() -> None:
    with pytest.raises(UserError, match="ended before it had loaded the model, 3 times in a row: exit status 4"):
        list(LocalExecutor(1).run(exit_while_loading, ["task"]))


def test_closing_a_run_lets_tasks_finish_and_leaves_no_process(prepare: PrepareTasks) -> None:
    with closing(LocalExecutor(2).run(prepare, ["pid", "sleep 0.3", "sleep 0.3", "sleep 0.3"])) as outcomes:
        next(outcomes)
        started = time.monotonic()
    assert time.monotonic() - started < 4
    assert not [pid for pid in prepare.log.read_text().split() if psutil.pid_exists(int(pid))]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_task_that_ends_its_process_is_retried_once_and_then_quarantined(
    prepare: PrepareTasks, tmp_path: Path, jobs: int
) -> None:
    killed_once = f"kill-once {tmp_path / 'killed'}"
    tasks = ["a", "kill", "b", killed_once, "exit"]
    outcomes = {outcome.task: outcome for outcome in run_tasks(LocalExecutor(jobs), prepare, tasks)}
    assert outcomes == {
        "a": Finished("a", "did a", 1),
        "b": Finished("b", "did b", 1),
        "kill": Quarantined("kill", "killed by SIGKILL", 2),
        killed_once: Finished(killed_once, f"did {killed_once}", 2),
        "exit": Quarantined("exit", "exit status 3", 2),
    }


class _LosingExecutor:
    def run(self, prepare: object, tasks: Iterable[Any]) -> Generator[Lost[Any], None, None]:
        del prepare
        yield from (Lost(task, "killed by SIGILL") for task in tasks)


def test_processes_that_always_die_end_the_run() -> None:
    outcomes: list[object] = []
    endless = map(str, itertools.count())
    with pytest.raises(TooManyLost, match="50 processes in a row ended with their tasks, the last was killed by SIGILL"):
        outcomes.extend(run_tasks(_LosingExecutor(), fail_to_load, endless))
    assert outcomes == [Quarantined(str(number), "killed by SIGILL", 2) for number in range(25)]

"""Bulk tasks in Ray actors: on a Ray started by the program, and on three nodes while one is killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from scripts.bulk.executors.base import Done, Lost
from scripts.bulk.executors.ray import RayExecutor, RayOptions
from scripts.bulk.run import Finished, Quarantined, run_tasks
from scripts.errors import UserError
from scripts.ray_cluster import INSTALL_RAY
from tests.support import ROOT
from tests.unit.scripts.bulk.stand_ins import PrepareTasks, exit_while_loading, fail_to_load

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(find_spec("ray") is None, reason=f"Ray is not installed; {INSTALL_RAY}"),
    pytest.mark.filterwarnings("ignore"),  # Ray itself warns.
]

_KILLED = "its process was killed or crashed"


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    """Return an executor with its own Ray, which takes ten seconds to start."""
    with RayExecutor(RayOptions(jobs=2, cpus=0.5, memory=200_000_000)) as executor:
        yield executor


@pytest.fixture
def prepare(tmp_path: Path) -> PrepareTasks:
    return PrepareTasks(tmp_path / "prepared")


def test_tasks_run_in_actors_that_are_prepared_once(executor: RayExecutor, prepare: PrepareTasks) -> None:
    tasks = [f"task {number}" for number in range(50)]

    outcomes = list(executor.run(prepare, tasks))

    assert sorted(outcome.task for outcome in outcomes) == sorted(tasks)
    assert all(outcome == Done(outcome.task, f"did {outcome.task}") for outcome in outcomes)
    assert len(set(prepare.log.read_text().split())) <= 2


def test_tasks_are_consumed_only_as_actors_become_free(executor: RayExecutor, prepare: PrepareTasks) -> None:
    consumed = 0

    def endless() -> Iterator[str]:
        nonlocal consumed
        while True:
            consumed += 1
            yield f"task {consumed}"

    with closing(executor.run(prepare, endless())) as outcomes:
        for reported in range(1, 30):
            next(outcomes)
            assert consumed <= reported + 2


def test_a_dead_actor_is_replaced_and_its_task_is_reported_as_lost(executor: RayExecutor, prepare: PrepareTasks) -> None:
    outcomes = {outcome.task: outcome for outcome in executor.run(prepare, ["kill", "exit", "a", "b", "c"])}

    assert outcomes == {
        "kill": Lost("kill", _KILLED),
        "exit": Lost("exit", _KILLED),
        **{task: Done(task, f"did {task}") for task in ("a", "b", "c")},
    }


def test_a_task_that_kills_its_actor_is_retried_and_then_quarantined(
    executor: RayExecutor, prepare: PrepareTasks, tmp_path: Path
) -> None:
    once = f"kill-once {tmp_path / 'killed'}"

    outcomes = {outcome.task: outcome for outcome in run_tasks(executor, prepare, ["a", "kill", "b", once])}

    assert outcomes == {
        "a": Finished("a", "did a", 1),
        "b": Finished("b", "did b", 1),
        "kill": Quarantined("kill", _KILLED, 2),
        once: Finished(once, f"did {once}", 2),
    }


def test_a_run_without_tasks_needs_no_cluster(prepare: PrepareTasks) -> None:
    assert list(RayExecutor(RayOptions(address="192.0.2.1:1")).run(prepare, [])) == []


def test_an_exception_in_a_task_ends_the_run(executor: RayExecutor, prepare: PrepareTasks) -> None:
    with pytest.raises(EOFError, match="a bug in the task") as caught:
        list(executor.run(prepare, ["raise"]))
    assert "stand_ins.py" in caught.value.__notes__[0]


def test_a_failed_preparation_ends_the_run_with_its_error(executor: RayExecutor) -> None:
    with pytest.raises(UserError, match="no such archive"):
        list(executor.run(fail_to_load, ["task"]))


def test_actors_that_die_during_preparation_end_the_run(executor: RayExecutor) -> None:
    with pytest.raises(UserError, match=f"ended before it had loaded the model, 3 times in a row: {_KILLED}"):
        list(executor.run(exit_while_loading, ["task"]))


def test_an_actor_too_large_for_the_cluster_ends_the_run(executor: RayExecutor, prepare: PrepareTasks) -> None:
    list(executor.run(prepare, ["task"]))  # Ray is connected.
    greedy = RayExecutor(RayOptions(jobs=1, cpus=1000, startup_timeout=1))

    with pytest.raises(UserError, match=r"within 1 s; one takes 1000 processors, 0 GPUs and 1\.0 GB; the cluster has"):
        list(greedy.run(prepare, ["task"]))


#: In a separate process, because a process can be connected to only one cluster.
_KILL_NODE_PROGRAM = """
import sys, threading, time
from pathlib import Path
import psutil
from ray.cluster_utils import Cluster
from scripts.bulk.executors.ray import RayExecutor, RayOptions
from scripts.bulk.run import Finished, run_tasks
from tests.unit.scripts.bulk.stand_ins import PrepareTasks

folder = Path(sys.argv[1])
node = {"num_cpus": 1, "object_store_memory": 80_000_000}
cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
worker_nodes = [cluster.add_node(**node) for _ in range(2)]
cluster.wait_for_nodes()

def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

def kill_a_node():
    while len(list(folder.glob("begun.*"))) < 3:  # One on each node.
        time.sleep(0.05)
    actors = [int(pid) for pid in (folder / "prepared").read_text().split()]
    cluster.remove_node(worker_nodes[0], allow_graceful=False)
    while all(map(is_running, actors)):  # An actor that has not yet noticed that its node is gone would still do its task.
        time.sleep(0.05)
    (folder / "released").touch()

threading.Thread(target=kill_a_node, daemon=True).start()
waiting_tasks = [f"hold {folder}/begun.{number} {folder}/released" for number in range(3)]
tasks = [*map(str, range(20)), *waiting_tasks, *map(str, range(20, 40))]
with RayExecutor(RayOptions(address=cluster.address, memory=100_000_000, project=None)) as executor:
    finished = list(run_tasks(executor, PrepareTasks(folder / "prepared"), tasks))
cluster.shutdown()
assert sorted(outcome.task for outcome in finished) == sorted(tasks)
assert all(isinstance(outcome, Finished) for outcome in finished)
print(*(outcome.attempts for outcome in finished if outcome.task in waiting_tasks))
"""


def test_every_task_finishes_once_although_a_node_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    program = [sys.executable, "-c", _KILL_NODE_PROGRAM, str(folder)]

    result = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)

    assert result.returncode == 0, result.stderr
    # Ray's own messages come first.
    assert sorted(result.stdout.splitlines()[-1].split()) == ["1", "1", "2"]

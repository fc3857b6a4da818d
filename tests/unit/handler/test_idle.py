"""Work that a server does when idle: once after its requests, not during them, and no later than its deadline."""

from threading import Event

from handler.idle import IdleTask

#: Longer than any machine takes; only a failure reaches it.
_LONG_S = 60.0
_MOMENT_S = 0.01


def test_the_task_runs_after_each_period_of_work() -> None:
    done = Event()
    idle = IdleTask(done.set, quiet_s=_MOMENT_S)

    for _ in range(2):
        done.clear()
        with idle.work():
            assert not done.is_set()
        assert done.wait(_LONG_S)


def test_without_work_the_task_does_not_run() -> None:
    done = Event()
    IdleTask(done.set, quiet_s=_MOMENT_S)

    assert not done.wait(10 * _MOMENT_S)


def test_the_task_waits_for_ongoing_work() -> None:
    done = Event()
    idle = IdleTask(done.set, quiet_s=_MOMENT_S, max_delay_s=_LONG_S)

    with idle.work():
        with idle.work():
            pass
        assert not done.wait(10 * _MOMENT_S)
    assert done.wait(_LONG_S)


def test_endless_work_delays_the_task_only_to_its_deadline() -> None:
    done = Event()
    idle = IdleTask(done.set, quiet_s=_MOMENT_S, max_delay_s=2 * _MOMENT_S)

    with idle.work():
        with idle.work():
            pass
        assert done.wait(_LONG_S)

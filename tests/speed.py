"""A pytest plugin that keeps the fast tests fast.

A test that needs more than half a second of processor time is marked `slow`, and `make check` leaves it out. A run fails when a
test without the marker needs more than `--fast-limit`. Only the processor time of the test's own thread and of the
processes it starts counts, not the clock: a busy machine fails no test. Fixtures do not count, because tests share them.
"""

import os
import time
from collections.abc import Generator

import pytest

_PROPERTY = "processor seconds"
_seconds: dict[str, float] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast-limit", type=float, metavar="SECONDS", help="fail if a test that is not marked slow needs more")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    start = _processor_seconds()
    try:
        yield
    finally:
        if item.get_closest_marker("slow") is None:
            item.user_properties.append((_PROPERTY, _processor_seconds() - start))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Under xdist this also runs in the process that reports.
    for name, value in report.user_properties:
        if name == _PROPERTY:
            _seconds[report.nodeid] = float(str(value))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _too_slow(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if too_slow := _too_slow(config):
        terminalreporter.section("mark these tests slow, or make them fast", red=True)
        for nodeid, seconds in sorted(too_slow.items(), key=lambda entry: -entry[1]):
            terminalreporter.write_line(f"{seconds:.1f} s  {nodeid}")


def _processor_seconds() -> float:
    """Return the processor time of this thread and of all child processes that have ended."""
    times = os.times()
    return time.thread_time() + times.children_user + times.children_system


def _too_slow(config: pytest.Config) -> dict[str, float]:
    limit = config.getoption("--fast-limit")
    return {nodeid: seconds for nodeid, seconds in _seconds.items() if limit is not None and seconds > limit}

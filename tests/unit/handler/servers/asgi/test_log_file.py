"""A rotated log loses no line of the files that are kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handler.servers.asgi.log_file import BACKUP_COUNT
from tests.support import ROOT
from tests.unit.handler.servers.asgi.support import fake_server, until

_PRINTING = {**os.environ, "FAKE_PRINT": "a line of the worker"}
_PROGRAM = """
import sys
from pathlib import Path
from handler.servers.asgi.logs import log_event, log_into
log_into(Path(sys.argv[1]), 10_000)
for number in range(int(sys.argv[2])):
    log_event("line", number=number)
"""


#: A limit on file sizes simulates a full disk: one line is written in part, and nothing of the next.
_FULL_DISK = """
import resource, sys
from pathlib import Path
from handler.servers.asgi.logs import RequestRecord, log_event, log_into
log_into(Path(sys.argv[1]), 1_000_000)
_, hard_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard_limit))
for number in range(100):
    log_event("line", number=number)
    RequestRecord(str(number)).write()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard_limit, hard_limit))
log_event("room again")
"""


def _write(log: Path, lines: int) -> list[Path]:
    """Write numbered lines from a separate process with redirected standard output; return the files, oldest first."""
    subprocess.run([sys.executable, "-c", _PROGRAM, log, str(lines)], cwd=ROOT, check=True)
    return [*sorted(log.parent.glob(f"{log.name}.*"), reverse=True), log]


def test_no_line_is_lost_or_cut_between_two_files(tmp_path: Path) -> None:
    files = _write(tmp_path / "console.log", 500)

    lines = [line for file in files for line in file.read_text().splitlines()]

    assert len(files) > 2
    assert [line.rpartition('"number":')[2] for line in lines] == [f"{number}}}" for number in range(500)]


def test_old_files_are_removed_and_the_last_lines_kept(tmp_path: Path) -> None:
    files = _write(tmp_path / "console.log", 5_000)

    lines = [line for file in files for line in file.read_text().splitlines()]

    assert len(files) == 1 + BACKUP_COUNT
    assert all(file.stat().st_size < 10_200 for file in files)
    assert [line.rpartition('"number":')[2] for line in lines] == [f"{number}}}" for number in range(5_000 - len(lines), 5_000)]


def test_on_a_full_disk_lines_are_complete_or_counted_as_lost(tmp_path: Path) -> None:
    log = tmp_path / "console.log"

    subprocess.run([sys.executable, "-c", _FULL_DISK, log], cwd=ROOT, check=True)

    *lines, room_event, lost_event = [json.loads(line) for line in log.read_text().splitlines()]
    assert room_event["event"] == "room again"
    assert lost_event["event"] == "log lines lost"
    assert len(lines) + lost_event["count"] == 200
    assert 0 < len(lines) < 100


@pytest.mark.slow
def test_requests_events_and_worker_output_share_one_file(tmp_path: Path) -> None:
    log = tmp_path / "other" / "events"  # Where `fake_server` looks.
    with fake_server(tmp_path, environment=_PRINTING) as plain:
        until(lambda: "a line of the worker\n" in plain.events_file.read_text())
    (tmp_path / "other").mkdir()

    with fake_server(tmp_path / "other", "--log-file", str(log), environment=_PRINTING) as server:
        until(server.is_ready)
        server.ask("echo")
        until(lambda: '"route":"/predictions/{model}"' in log.read_text())

    assert {"listening", "worker ready"} <= {part.split('"')[0] for part in log.read_text().split('"event":"')}
    assert "a line of the worker\n" in log.read_text()

"""Reports of a model that TorchServe fails to load."""

from pathlib import Path

from scripts.server.logs import Logs

DIED = "2026-11-26T17:28:43,589 [WARN ] W-9000-pets_1.0 BatchAggregator - Load model failed: pets, error: Worker died.\n"
TRACEBACK = [
    "Backend worker process died.",
    "Traceback (most recent call last):",
    '  File "a.py", line 1',
    "    run()",
    "ValueError: t0rch",
]


def write_worker_log(folder: Path, *lines: str) -> None:
    prefix = "2026-11-26T17:28:42,528 [INFO ] W-9000-pets_1.0-stdout MODEL_LOG - "
    (folder / "model_log.log").write_text("".join(f"{prefix}{line}\n" for line in ("model_name: pets, batchSize: 4", *lines)))


def test_a_failure_is_reported_once_the_workers_traceback_is_complete(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    write_worker_log(tmp_path, *TRACEBACK)
    assert logs.load_failure() is None

    (tmp_path / "ts_log.log").write_text(DIED)
    for line_count in range(len(TRACEBACK)):
        write_worker_log(tmp_path, *TRACEBACK[:line_count])
        assert logs.load_failure() is None
    write_worker_log(tmp_path, *TRACEBACK)

    assert "t0rch" in (logs.load_failure() or "")


def test_a_second_failure_is_reported_without_a_traceback(tmp_path: Path) -> None:
    write_worker_log(tmp_path)
    (tmp_path / "ts_log.log").write_text(DIED * 2)

    assert "batchSize: 4" in (Logs(tmp_path).load_failure() or "")

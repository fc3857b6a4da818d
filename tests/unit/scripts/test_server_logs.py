"""What is reported about a model that TorchServe fails to load."""

from pathlib import Path

from scripts.server.logs import Logs

DIED = "2026-11-26T17:28:43,589 [WARN ] W-9000-pets_1.0 BatchAggregator - Load model failed: pets, error: Worker died.\n"
LAST_WORDS = [
    "Backend worker process died.",
    "Traceback (most recent call last):",
    '  File "a.py", line 1',
    "    run()",
    "ValueError: t0rch",
]


def worker_says(folder: Path, *lines: str) -> None:
    prefix = "2026-11-26T17:28:42,528 [INFO ] W-9000-pets_1.0-stdout MODEL_LOG - "
    (folder / "model_log.log").write_text("".join(f"{prefix}{line}\n" for line in ("model_name: pets, batchSize: 4", *lines)))


def test_a_death_is_told_once_the_worker_has_said_why(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    worker_says(tmp_path, *LAST_WORDS)
    assert logs.load_failure() is None

    (tmp_path / "ts_log.log").write_text(DIED)
    for said in range(len(LAST_WORDS)):
        worker_says(tmp_path, *LAST_WORDS[:said])
        assert logs.load_failure() is None
    worker_says(tmp_path, *LAST_WORDS)

    assert "t0rch" in (logs.load_failure() or "")


def test_a_second_death_without_a_word_is_told(tmp_path: Path) -> None:
    worker_says(tmp_path)
    (tmp_path / "ts_log.log").write_text(DIED * 2)

    assert "batchSize: 4" in (Logs(tmp_path).load_failure() or "")

"""The page's committed build matches its source."""

from pathlib import Path

from handler.servers.asgi.page import FILES
from tests.node import run_npm


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_committed_page_matches_its_source(tmp_path: Path) -> None:
    run_npm("build", "--outDir", str(tmp_path / "built"), "--emptyOutDir")

    assert _contents(tmp_path / "built") == _contents(FILES)


def test_the_pages_unit_tests_pass() -> None:
    assert "passed" in run_npm("test")

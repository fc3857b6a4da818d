import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import install_torch
from scripts.install_torch import InstallationError, Installer, Machine, choose, installed_version, pinned, run
from tests.support import ROOT

LINUX = Machine(linux=True, nvidia_driver=False)
LINUX_WITH_DRIVER = Machine(linux=True, nvidia_driver=True)
MACOS = Machine(linux=False, nvidia_driver=False)
VERSION = pinned("torch")[0].split("==")[1]


class Environment:
    """An environment that records the commands of pip and uv, which change only what is reported as installed."""

    def __init__(self, torch: str | None = None, *, reachable: bool = True, pip_finds: str = "", download: bool = True) -> None:
        """Set the version of torch installed before, and the build that pip finds: "" from PyPI, or "+cpu"."""
        self.torch = torch
        self.commands: list[list[str]] = []
        self._reachable, self._pip_finds, self._download = reachable, pip_finds, download

    def run(self, command: list[str], **_: object) -> bool:
        arguments = command[2:]
        self.commands.append(arguments)
        if "uninstall" in arguments:
            self.torch = None
        elif arguments[0] == "uv":
            return self._run_uv(dry="--dry-run" in arguments)
        elif f"torch=={VERSION}+cpu" in arguments:
            return self._install(self._pip_finds == "+cpu", "+cpu")
        elif f"torch=={VERSION}" in arguments:
            return self._install(True, self._pip_finds)
        return True

    def _run_uv(self, *, dry: bool) -> bool:
        return self._reachable if dry else self._install(self._download, "+cpu")

    def _install(self, succeeds: bool, build: str) -> bool:
        self.torch = VERSION + build if succeeds else self.torch
        return succeeds

    def installed(self, requirement: str) -> str | None:
        return self.torch if requirement.startswith("torch==") else "0"

    def programs(self) -> list[str]:
        """Return what installed torch, in order: pip, uv, or uv's dry run."""
        torch = [arguments for arguments in self.commands if any(argument.startswith("torch==") for argument in arguments)]
        return [f"{arguments[0]}{' --dry-run' if '--dry-run' in arguments else ''}" for arguments in torch]


def install(monkeypatch: pytest.MonkeyPatch, environment: Environment, build: str, machine: Machine) -> str:
    monkeypatch.setattr(install_torch, "installed_version", environment.installed)
    return Installer(machine, ["--no-index"], environment.run).install(build)


@pytest.mark.parametrize(
    ("build", "machine", "cpu_build"),
    [
        ("auto", LINUX, True),
        ("auto", LINUX_WITH_DRIVER, False),
        ("auto", MACOS, False),
        ("cpu", LINUX_WITH_DRIVER, True),
        ("cpu", MACOS, False),
        ("cuda", LINUX, False),
    ],
)
def test_the_driver_decides_unless_a_build_is_requested(build: str, machine: Machine, cpu_build: bool) -> None:
    assert choose(build, machine).cpu_build == cpu_build


def test_cuda_is_refused_where_there_is_no_such_build() -> None:
    with pytest.raises(InstallationError, match="cuda"):
        choose("cuda", MACOS)


def test_without_a_driver_uv_installs_the_cpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Environment()

    line = install(monkeypatch, environment, "auto", LINUX)

    assert line == f"PyTorch {VERSION}+cpu: no NVIDIA driver found; TORCH=cuda overrides"
    assert environment.programs() == ["uv --dry-run", "uv"]


@pytest.mark.parametrize("machine", [LINUX_WITH_DRIVER, MACOS])
def test_on_other_machines_pip_chooses_the_build(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    environment = Environment()

    assert f"PyTorch {VERSION}: " in install(monkeypatch, environment, "auto", machine)
    assert environment.programs() == ["pip"]


@pytest.mark.parametrize(("pip_finds", "attempts"), [("+cpu", 1), ("", 2)])
def test_pip_is_the_fallback_where_pytorchs_index_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, pip_finds: str, attempts: int
) -> None:
    environment = Environment(reachable=False, pip_finds=pip_finds)

    line = install(monkeypatch, environment, "auto", LINUX)

    assert line.startswith(f"PyTorch {VERSION}{pip_finds}: ")
    assert environment.programs() == ["uv --dry-run", *["pip"] * attempts]


def test_a_requested_cpu_build_never_becomes_a_cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Environment(reachable=False)

    with pytest.raises(InstallationError, match="TORCH=cpu"):
        install(monkeypatch, environment, "cpu", LINUX)
    assert environment.torch is None


def test_a_requested_cuda_build_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InstallationError, match=rf"TORCH=cuda.*{VERSION}\+cpu"):
        install(monkeypatch, Environment(pip_finds="+cpu"), "cuda", LINUX)


def test_a_failed_download_does_not_fall_back_to_the_cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Environment(download=False)

    with pytest.raises(InstallationError, match="download"):
        install(monkeypatch, environment, "auto", LINUX)
    assert environment.programs() == ["uv --dry-run", "uv"]


@pytest.mark.parametrize("build", ["", "+cpu"])
def test_an_installed_build_is_kept(monkeypatch: pytest.MonkeyPatch, build: str) -> None:
    environment = Environment(VERSION + build)

    assert install(monkeypatch, environment, "auto", LINUX) == f"PyTorch {VERSION}{build}: already installed"
    assert environment.commands == []


@pytest.mark.parametrize(("before", "build", "after"), [("", "cpu", "+cpu"), ("+cpu", "cuda", "")])
def test_another_build_replaces_the_installed_one(monkeypatch: pytest.MonkeyPatch, before: str, build: str, after: str) -> None:
    environment = Environment(VERSION + before)

    install(monkeypatch, environment, build, LINUX)

    assert environment.commands[0][:4] == ["pip", "-q", "--disable-pip-version-check", "uninstall"]
    assert environment.torch == VERSION + after


def test_options_for_pip_and_the_constraints_reach_every_installation_by_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Environment(reachable=False)

    install(monkeypatch, environment, "auto", LINUX)

    for arguments in environment.commands:
        assert ("--no-index" in arguments and str(ROOT / "constraints.txt") in arguments) == (
            arguments[0] == "pip" and "install" in arguments
        )


def test_a_hanging_command_is_killed() -> None:
    assert not run([sys.executable, "-c", "import time; time.sleep(60)"], seconds=0.2)


def test_an_installed_package_is_found_by_its_pinned_version() -> None:
    version = installed_version(pinned("torch")[0])

    assert version is not None
    assert version.split("+")[0] == VERSION
    assert installed_version("torch==0.0.1") is None
    assert installed_version("no-such-package==1") is None


def test_make_refuses_an_unknown_build() -> None:
    result = make("setup", "TORCH=gpu")

    assert result.returncode == 2
    assert "TORCH=gpu is unknown; use auto, cpu or cuda" in result.stderr


def test_make_refuses_an_old_python(tmp_path: Path) -> None:
    old_python = tmp_path / "python3"
    old_python.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.10.13"\nexit 1\n')
    old_python.chmod(0o755)

    result = make("setup", f"PYTHON={old_python}", f"VENV={tmp_path / 'venv'}")

    assert result.returncode == 2
    assert "Python 3.10.13; this needs Python 3.11 to 3.14" in result.stderr
    assert not (tmp_path / "venv").exists()


def make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

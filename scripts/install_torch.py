"""Install PyTorch: the CPU build on Linux without an NVIDIA driver, otherwise the build that pip finds.

python -m scripts.install_torch --build auto -- PIP_OPTION...

It uses only the standard library, since nothing else is installed yet.
"""

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.arguments import Parser
from scripts.errors import UserError, report_errors

BUILDS = ("auto", "cpu", "cuda")
_ROOT = Path(__file__).parent.parent
# By default uv tries to reach an index for half a minute.
_PROBE_ENVIRONMENT = {"UV_HTTP_RETRIES": "1", "UV_HTTP_TIMEOUT": "5", "UV_HTTP_CONNECT_TIMEOUT": "5"}
_PROBE_SECONDS = 20


class InstallationError(UserError):
    """PyTorch cannot be installed as requested."""


@dataclass(frozen=True)
class Machine:
    """Properties of this machine that decide which build fits."""

    linux: bool
    nvidia_driver: bool

    @classmethod
    def detect(cls) -> "Machine":
        """Look for Linux, NVIDIA's kernel module and `nvidia-smi`."""
        driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
        return cls(platform.system() == "Linux", driver)


@dataclass(frozen=True)
class Plan:
    """Which build to install, and why."""

    cpu_build: bool
    reason: str


def choose(build: str, machine: Machine) -> Plan:
    """Choose a build; `build` is one of `BUILDS`.

    Raises:
        InstallationError: `build` is "cuda" on a system for which PyTorch has no CUDA build.
    """
    if not machine.linux:
        if build == "cuda":
            raise InstallationError("TORCH=cuda: PyTorch has no CUDA build for this system")
        return Plan(cpu_build=False, reason="the only build for this system")
    if build != "auto":
        return Plan(cpu_build=build == "cpu", reason=f"TORCH={build}")
    if machine.nvidia_driver:
        return Plan(cpu_build=False, reason="NVIDIA driver found; TORCH=cpu overrides")
    return Plan(cpu_build=True, reason="no NVIDIA driver found; TORCH=cuda overrides")


def pinned(*names: str) -> list[str]:
    """Return pyproject.toml's requirements for these packages, for example `torch==2.13.0`."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["setup"]]
    return [next(requirement for requirement in requirements if requirement.startswith(f"{name}==")) for name in names]


def installed_version(requirement: str) -> str | None:
    """Return the installed version with its build (`2.13.0+cpu`), or None unless it is the one that `requirement` pins."""
    name, version = requirement.split("==")
    importlib.invalidate_caches()
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return installed if installed.split("+")[0] == version else None


def run(command: Sequence[str], *, quiet: bool = False, seconds: float | None = None, **environment: str) -> bool:
    """Run a command with extra environment variables; return whether it succeeded, within `seconds` if given."""
    output = subprocess.DEVNULL if quiet else None
    try:
        result = subprocess.run(
            command, env=os.environ | environment, timeout=seconds, stdout=output, stderr=output, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0


@dataclass(frozen=True)
class Installer:
    """Installs PyTorch into this environment: with pip, or with uv from PyTorch's own index."""

    machine: Machine
    pip_options: Sequence[str] = ()
    run: Callable[..., bool] = run

    def install(self, build: str) -> str:
        """Install torch and torchvision unless they are present; return a line that names the build and the reason for it.

        Raises:
            InstallationError: the requested build cannot be installed.
        """
        plan = choose(build, self.machine)
        torch, torchvision = pinned("torch", "torchvision")
        present = installed_version(torch)
        if present and installed_version(torchvision) and self._is_build(build, present):
            return f"PyTorch {present}: already installed"
        self._pip("uninstall", "-y", "torch", "torchvision", quiet=True)
        reason = self._install_cpu_build(build, plan) if plan.cpu_build else self._install_default_build(plan)
        version = installed_version(torch)
        if not (version and self._is_build(build, version)):
            raise InstallationError(f"TORCH={build}: pip found PyTorch {version} instead; PIP_ARGS can name another index")
        return f"PyTorch {version}: {reason}"

    def _is_build(self, build: str, version: str) -> bool:
        """Return whether a torch version is of this build; on Linux, versions without a suffix are CUDA builds."""
        return build == "auto" or not self.machine.linux or version.endswith("+cpu") == (build == "cpu")

    def _install_cpu_build(self, build: str, plan: Plan) -> str:
        torch, torchvision = pinned("torch", "torchvision")
        if self._reach_pytorch_index(torch, torchvision):
            if not self._uv(torch, torchvision):
                raise InstallationError("the download of PyTorch's CPU build failed, see above; run the same command again")
            return plan.reason
        if self._pip_install(f"{torch}+cpu", torchvision, quiet=True):
            return f"{plan.reason} (installed by pip, PyTorch's own index cannot be reached)"
        if build == "cpu":
            raise InstallationError("TORCH=cpu: PyTorch's own index cannot be reached, and pip finds no CPU build")
        print(
            "PyTorch's own index cannot be reached: installing the build that pip finds, perhaps with 2.5 GB of CUDA libraries",
            flush=True,
        )
        return f"the build that pip finds; {self._install_default_build(plan)}"

    def _install_default_build(self, plan: Plan) -> str:
        if not self._pip_install(*pinned("torch", "torchvision")):
            raise InstallationError("pip cannot install PyTorch, see above")
        return plan.reason

    def _reach_pytorch_index(self, *requirements: str) -> bool:
        if not self._pip_install(*pinned("uv"), quiet=True):
            return False
        return self._uv(*requirements, "--dry-run", quiet=True, seconds=_PROBE_SECONDS, **_PROBE_ENVIRONMENT)

    def _uv(self, *arguments: str, **run_options: object) -> bool:
        command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", sys.executable]
        return self.run([*command, "--torch-backend", "cpu", "--no-deps", *arguments], **run_options)

    def _pip_install(self, *requirements: str, quiet: bool = False) -> bool:
        options = ["-c", str(_ROOT / "constraints.txt"), "--no-compile", *self.pip_options]
        return self._pip("install", *options, *requirements, quiet=quiet)

    def _pip(self, *arguments: str, quiet: bool) -> bool:
        return self.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments], quiet=quiet)


@report_errors
def main(argv: list[str] | None = None) -> int:
    parser = Parser("python -m scripts.install_torch", __doc__)
    parser.add_argument("--build", choices=BUILDS, default="auto")
    parser.add_argument("pip_options", nargs="*", help="options for pip, after `--`")
    arguments = parser.parse_args(argv)
    print(Installer(Machine.detect(), arguments.pip_options).install(arguments.build))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Describe the machine and the package versions behind the measurements."""

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Instruction sets that determine an engine's precision.
_INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_PACKAGES = ("torch", "torchvision", "torchserve", "openvino", "nncf", "pillow", "numpy")


@dataclass(frozen=True)
class Machine:
    """The computer."""

    processor: str
    #: Cores that this process may use.
    cores: int
    instructions: tuple[str, ...]
    memory_bytes: int
    system: str


def this_machine() -> Machine:
    info = _first_core_info()
    flags = set(info.get("flags", "").split())
    return Machine(
        info.get("model name", platform.processor() or platform.machine()),
        len(os.sched_getaffinity(0)),
        tuple(name for name in _INSTRUCTION_SETS if name in flags),
        psutil.virtual_memory().total,
        f"{platform.system()} {platform.release()}",
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that affect speed."""
    installed = {package.metadata["Name"].lower(): package.version for package in importlib.metadata.distributions()}
    return {"python": platform.python_version(), **{name: installed[name] for name in _PACKAGES if name in installed}}


def _first_core_info() -> dict[str, str]:
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}

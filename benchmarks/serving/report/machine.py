"""Where something was measured, and with what."""

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Instructions that engines choose their precision by.
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_PACKAGES = ("torch", "torchvision", "torchserve", "openvino", "nncf", "pillow", "numpy")


@dataclass(frozen=True)
class Machine:
    """The computer."""

    processor: str
    #: That this process may use.
    cores: int
    instructions: tuple[str, ...]
    memory_bytes: int
    system: str


def this_machine() -> Machine:
    info = _cpu_info()
    flags = set(info.get("flags", "").split())
    return Machine(
        info.get("model name", platform.processor() or platform.machine()),
        len(os.sched_getaffinity(0)),
        tuple(flag for flag in _TELLING_FLAGS if flag in flags),
        psutil.virtual_memory().total,
        f"{platform.system()} {platform.release()}",
    )


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter here, those that are installed."""
    installed = {each.metadata["Name"].lower(): each.version for each in importlib.metadata.distributions()}
    return {"python": platform.python_version(), **{name: installed[name] for name in _PACKAGES if name in installed}}


def _cpu_info() -> dict[str, str]:
    """Of the first core."""
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}

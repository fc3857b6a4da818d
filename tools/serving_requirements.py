"""Lock each server's requirements for its image, with the hash of every file: `deploy/requirements/*.txt`.

python -m tools.serving_requirements

Needs uv (the extra `setup`). Versions are those of pyproject.toml and constraints.txt. PyTorch has separate locks, since its
CPU and CUDA builds differ; the CPU build's lock is maintained by hand, because it comes from a different index.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import report_errors
from scripts.package import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, Recipe

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "requirements"
COMMAND = "python -m tools.serving_requirements"
#: The Python version in images, which is Debian 12's.
PYTHON = "3.11"
_TORCH = "torch"
#: A package in a lock, with its lines of hashes.
ENTRY = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


@dataclass(frozen=True)
class LockedPackage:
    """A package in a lock; `sha256` has a hash for each of its files."""

    name: str
    version: str
    sha256: tuple[str, ...]


def read_lock(name: str) -> dict[str, LockedPackage]:
    """Return the packages in a lock, by name."""
    entries = ENTRY.findall((FOLDER / f"{name}.txt").read_text())
    return {
        package: LockedPackage(package, version, tuple(re.findall(r"sha256:(\w+)", hashes)))
        for package, version, hashes in entries
    }


def inputs() -> dict[str, list[str]]:
    """Return the pinned direct requirements by lock name, without PyTorch itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared, extras = project["dependencies"], project["optional-dependencies"]
    imported = Recipe("serving", "1.0", DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG).requirements().split()
    networks = [line for line in imported if not line.startswith(f"{_TORCH}==")]
    server_requirements = [line for line in declared if line.startswith(("psutil==", "pyyaml==", "requests==", "torchserve=="))]
    return {
        "asgi": sorted({*networks, *extras["grpc"], *extras["otel"], *extras["signing"]}),
        "torchserve": sorted({*networks, *server_requirements} - {line for line in networks if line.startswith(_ASGI_ONLY)}),
        "torch-cuda": [line for line in declared if line.startswith(f"{_TORCH}==")],
        "install": extras["setup"],
    }


#: Packages that TorchServe does not need, since it has its own front end.
_ASGI_ONLY = ("httptools==", "prometheus-client==", "python-multipart==", "starlette==", "uvicorn==")


def lock(name: str, requirements: list[str]) -> str:
    """Return the text of one lock."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, f"{name}.in")
        source.write_text("\n".join(requirements) + "\n")
        command = [sys.executable, "-m", "uv", "pip", "compile", str(source), "--quiet", "--generate-hashes", "--no-header"]
        command += ["--no-emit-index-url", "--no-annotate", "--python-version", PYTHON, "--python-platform", "linux"]
        command += ["--constraints", str(ROOT / "constraints.txt"), "--no-config"]
        if name != "torch-cuda":  # The other locks have PyTorch's own requirements, except for its CUDA libraries.
            command += ["--no-emit-package", _TORCH]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return f"# Written by: {COMMAND}\n{_without_cuda(text) if name != 'torch-cuda' else _only_torch(text)}"


def _entries(text: str) -> list[str]:
    """Return the entries of a lock, each including its lines of hashes."""
    entries: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("#"):
            continue
        if line.startswith(" "):
            entries[-1] += line
        else:
            entries.append(line)
    return entries


def _is_cuda(entry: str) -> bool:
    return entry.startswith(("cuda-", "nvidia-", "triton==", f"{_TORCH}=="))


def _without_cuda(text: str) -> str:
    return "".join(entry for entry in _entries(text) if not _is_cuda(entry))


def _only_torch(text: str) -> str:
    return "".join(entry for entry in _entries(text) if _is_cuda(entry))


@report_errors
def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, requirements in inputs().items():
        path = FOLDER / f"{name}.txt"
        path.write_text(lock(name, requirements))
        print(f"{path.relative_to(ROOT)}: {path.read_text().count('==')} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The packages that an archive's code imports, pinned to the versions it was packaged with, for serving it elsewhere."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

#: Not imported by the sources: uvicorn, which serves without Java, uses it if it is installed.
_IMPLICIT_REQUIREMENTS = {"httptools"}
#: These have their own way to run archives, and their own Python.
_OTHER_SERVERS = {"torchserve"}


def requirements(sources: Iterable[Path], project: Path) -> str:
    """Return the text of `requirements.txt`: the project's dependencies that `sources` import, each pinned.

    Args:
        sources: Python files.
        project: path of pyproject.toml, whose `dependencies` are considered; its extras are not.
    """
    lines = tomllib.loads(project.read_text())["project"]["dependencies"]
    declared = {re.split(r"[^\w.-]", line)[0].lower() for line in lines}
    imported = {name for source in sources if source.suffix == ".py" for name in _imports(source)}
    needed = {package for package in declared if package in _IMPLICIT_REQUIREMENTS or _modules(package) & imported}
    # PyTorch's local version, as in 2.13.0+cpu, is not on every index.
    return "".join(f"{package}=={version(package).partition('+')[0]}\n" for package in sorted(needed - _OTHER_SERVERS))


def _modules(package: str) -> set[str]:
    """Return a package's top-level modules; none if it is not installed, as in an outdated environment."""
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        return set()
    names = installed.read_text("top_level.txt")
    return set(names.split()) if names else {file.parts[0].removesuffix(".py") for file in installed.files or ()}


def _imports(source: Path) -> Iterator[str]:
    """Yield the top-level modules that a file imports, also inside functions."""
    yield from re.findall(r"^\s*(?:from|import) (\w+)", source.read_text(), re.MULTILINE)

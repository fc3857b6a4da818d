"""The packages that an archive's code imports, in the versions with which it was packaged, for whoever serves it elsewhere."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

#: Uvicorn imports it where it is installed, which the server without Java needs.
_BESIDE_IMPORTS = {"httptools"}
#: They run archives in their own way, and bring their own Python.
_OTHER_SERVERS = {"torchserve"}


def requirements(sources: Iterable[Path], project: Path) -> str:
    """Return the text of `requirements.txt`: of the project's dependencies those that `sources` import, each pinned.

    Args:
        sources: Python files.
        project: the file pyproject.toml, whose `dependencies` are taken; those of its extras are optional.
    """
    lines = tomllib.loads(project.read_text())["project"]["dependencies"]
    declared = {re.split(r"[^\w.-]", line)[0].lower() for line in lines}
    imported = {name for source in sources if source.suffix == ".py" for name in _imports(source)}
    needed = {package for package in declared if package in _BESIDE_IMPORTS or _modules(package) & imported}
    # A build of PyTorch, as in 2.13.0+cpu, is not on every index.
    return "".join(f"{package}=={version(package).partition('+')[0]}\n" for package in sorted(needed - _OTHER_SERVERS))


def _modules(package: str) -> set[str]:
    """Return the top-level modules of a package; none if it is not installed, as in an environment that is to be renewed."""
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        return set()
    names = installed.read_text("top_level.txt")
    return set(names.split()) if names else {file.parts[0].removesuffix(".py") for file in installed.files or ()}


def _imports(source: Path) -> Iterator[str]:
    """Return the top-level modules that a file imports, inside functions too."""
    yield from re.findall(r"^\s*(?:from|import) (\w+)", source.read_text(), re.MULTILINE)

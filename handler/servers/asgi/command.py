"""Start the server from a command line, or explain in one sentence why it cannot start.

A `.mar` file runs this before it is extracted, so modules that only the server needs are imported late.
"""

import importlib.util
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from handler.servers.asgi.options import TOKEN_COMMAND, OptionError, ServerOptions, parse_options
from handler.servers.asgi.signatures import PACKAGE
from handler.servers.asgi.unpack import UnpackError, sweep, unpack

_FAILURE, _USAGE = 1, 2
#: Modules that the front process and its workers import, with the names of their packages.
_PACKAGES = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "httptools": "httptools",
    "python_multipart": "python-multipart",
    "numpy": "numpy",
    "torch": "torch",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "pydantic": "pydantic",
    "safetensors": "safetensors",
}
#: Needed in addition for `--grpc-port`.
_GRPC_PACKAGES = {"grpc": "grpcio", "google.protobuf": "protobuf"}
#: Needed in addition for `--verify-key`.
_SIGNATURE_PACKAGES = {"minisign": PACKAGE}
_UNTRUSTED_CODE = (
    "--verify-key: `python MODEL.mar` has already run the archive's own code, which cannot vouch for itself; start the server "
    "from code that you trust: python -m handler.servers.asgi --model NAME=MODEL.mar --verify-key FILE"
)
#: Environment variable that tells a process running an extracted archive which file the user started.
_ARCHIVE_VARIABLE = "DEEPLAB_ARCHIVE"


def main(
    arguments: Sequence[str],
    prog: str = "python -m handler.servers.asgi",
    archive: Path | None = None,
    root: Path | None = None,
) -> int:
    """Serve until a signal ends the server, and return the exit code.

    Args:
        arguments: the words after the program's name.
        prog: what the user typed to start the program.
        archive: the archive to serve if the command line names no model.
        root: the archive, or its extracted folder, that this code was loaded from; None outside an archive.
    """
    try:
        if list(arguments[:1]) == [TOKEN_COMMAND]:
            from handler.servers.asgi import token_command

            return token_command.main(arguments[1:], prog)
        options = parse_options(arguments, prog, archive)
        require_packages(_needed_packages(options), root)
        if root is not None and options.verify_key:
            raise OptionError(_UNTRUSTED_CODE)
        from handler.servers.asgi.logs import log_event
        from handler.servers.asgi.server import serve

        folders = {name: unpack(path, options.cache, options.verify_key) for name, path in options.models.items()}
        for folder in sweep(options.cache):
            log_event("archive removed", folder=str(folder))
        return serve(options, folders)
    except (OptionError, UnpackError) as error:
        return fail(str(error), _USAGE if isinstance(error, OptionError) else _FAILURE)
    except OSError as error:
        return fail(error.strerror or str(error))


def serve_archive(root: Path, arguments: Sequence[str]) -> int:
    """Serve the archive at `root`: its file or, after extraction, its folder.

    A file is extracted and the folder is run instead, so that late imports cannot come from another archive that has replaced
    the file in the meantime.
    """
    archive = Path(os.environ.pop(_ARCHIVE_VARIABLE, root)) if root.is_dir() else root
    if root.is_dir() or list(arguments[:1]) == [TOKEN_COMMAND]:
        return main(arguments, f"python {archive}", archive if archive.is_file() else root, root)
    try:
        options = parse_options(arguments, f"python {archive}", archive)
        require_packages(_needed_packages(options), root)
        if options.verify_key:
            raise OptionError(_UNTRUSTED_CODE)
        folder = unpack(root, options.cache)
    except (OptionError, UnpackError) as error:
        return fail(str(error), _USAGE if isinstance(error, OptionError) else _FAILURE)
    return _replace_process([sys.executable, str(folder), *arguments], {**os.environ, _ARCHIVE_VARIABLE: str(root)})


def require_packages(packages: Mapping[str, str], root: Path | None = None) -> None:
    """Check that this Python has the packages that the server imports.

    Args:
        packages: package names by module name.
        root: the archive, or its folder, that pins their versions, or None to recommend no versions.

    Raises:
        OptionError: packages are missing; the message names them and the command that installs them.
    """
    missing = [package for module, package in packages.items() if not _is_installed(module)]
    if missing:
        pinned = _read_requirements(root)
        requirements = " ".join(pinned.get(package, package) for package in missing)
        raise OptionError(
            f"packages are missing in {sys.prefix}: {', '.join(missing)}; run the Python that has them, or install them with: "
            f"{sys.executable} -m pip install {requirements}"
        )


def _needed_packages(options: ServerOptions) -> Mapping[str, str]:
    grpc = {} if options.grpc_port is None else _GRPC_PACKAGES
    return _PACKAGES | grpc | (_SIGNATURE_PACKAGES if options.verify_key else {})


def _read_requirements(root: Path | None) -> dict[str, str]:
    """Return the lines of the archive's `requirements.txt` by package; empty if there is no such file."""
    try:
        if root is None:
            return {}
        text = (root if root.is_dir() else zipfile.Path(root)).joinpath("requirements.txt").read_text()
    except OSError:  # An older archive.
        return {}
    return {line.partition("==")[0]: line for line in text.splitlines()}


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # The package that contains `module` is missing.
        return False


def _replace_process(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    os.execve(command[0], list(command), environment)  # noqa: S606


def fail(message: str, code: int = _FAILURE) -> int:
    """Print an error to standard error and return the exit code."""
    sys.stderr.write(f"error: {message}\n")
    return code

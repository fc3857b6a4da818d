"""Verify an archive's signature before a server is started with it.

Our own server verifies signatures itself. TorchServe cannot, so it gets a verified copy in a folder that only its user can
write to.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from handler.servers.asgi.options import VERIFY_KEY
from handler.servers.asgi.signatures import SignatureError, verify
from scripts.arguments import existing_file
from scripts.server.ports import ServerError


def requires_verification(options: Sequence[str]) -> bool:
    """Return whether a server's command-line options name a key."""
    return any(option.partition("=")[0] == VERIFY_KEY for option in options)


def split_keys(options: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the keys that a command line names, and the remaining options."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(VERIFY_KEY, type=existing_file, action="append", default=[], dest="keys")
    arguments, remaining = parser.parse_known_args(options)
    return arguments.keys, remaining


def verified_copy(archive: Path, keys: Sequence[Path], folder: Path) -> Path:
    """Return `archive` itself if there are no keys, otherwise a copy below `folder` verified against them.

    Raises:
        ServerError: the archive is not signed, not by these keys, or was changed afterwards.
    """
    if not keys:
        return archive
    copy = folder / "model-store" / archive.name
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(archive, copy)
    try:
        with copy.open("rb") as file:
            verify(archive, file, keys)
    except SignatureError as error:
        raise ServerError(str(error)) from error
    return copy

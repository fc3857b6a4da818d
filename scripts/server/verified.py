"""Have an archive's signature checked before a server is started with it.

Our own server checks signatures itself. TorchServe cannot, so it gets a copy that has been checked, in a folder that only its
user can write.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from handler.servers.asgi.options import VERIFY_KEY
from handler.servers.asgi.signatures import SignatureError, verify
from scripts.arguments import existing_file
from scripts.server.ports import ServerError


def wants_verification(options: Sequence[str]) -> bool:
    """Tell whether the options of a server's command line name a key."""
    return any(option.partition("=")[0] == VERIFY_KEY for option in options)


def split_keys(options: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the keys that a command line names, and the options that are left."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(VERIFY_KEY, type=existing_file, action="append", default=[], dest="keys")
    chosen, rest = parser.parse_known_args(options)
    return chosen.keys, rest


def verified_copy(archive: Path, keys: Sequence[Path], folder: Path) -> Path:
    """Return `archive` itself if there are no keys, else a copy below `folder` that one of them has signed.

    Raises:
        ServerError: it is not signed, or not by these keys, or not as it is now.
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

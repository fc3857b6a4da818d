"""Files that are either the old ones or the whole new ones, whenever they are read."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write `content` to `path` so that a process killed half way leaves what was there before.

    Args:
        path: its folder is made if need be.
        content: of the whole file.
        durable: wait until the disk has it, so that it also outlives a power cut; many small files are faster without.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise

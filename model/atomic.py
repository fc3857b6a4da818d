"""Write files atomically: a reader sees either the old content or the complete new content."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write `content` to `path`; if the process is killed halfway, the old file remains.

    Args:
        path: the file; missing folders are created.
        content: the whole file.
        durable: flush to disk, so that the file also survives a power failure; slow for many small files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise

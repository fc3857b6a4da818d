"""One number for all that an archive holds, the same before it is packed and where it is extracted."""

import hashlib
from pathlib import Path

#: Python's own, written beside the sources when they are first imported.
_NOT_PACKED = "__pycache__"


def content_digest(folder: Path) -> str:
    """SHA-256 in hex over the names and the SHA-256 of all files under `folder`, in the order of their names."""
    digest = hashlib.sha256()
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    for name in sorted(name for name in names if _NOT_PACKED not in name.parts):
        own = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        digest.update(f"{name.as_posix()} {own}\n".encode())
    return digest.hexdigest()

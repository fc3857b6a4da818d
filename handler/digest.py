"""A digest of an archive's contents, which is the same before packing and after extraction."""

import hashlib
from pathlib import Path

#: Python writes this folder next to the sources on first import.
_BYTECODE_FOLDER = "__pycache__"


def content_digest(folder: Path) -> str:
    """Return the SHA-256, in hex, of the names and SHA-256 digests of all files under `folder`, sorted by name."""
    digest = hashlib.sha256()
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    for name in sorted(name for name in names if _BYTECODE_FOLDER not in name.parts):
        file_digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        digest.update(f"{name.as_posix()} {file_digest}\n".encode())
    return digest.hexdigest()

"""An image of a source, before it becomes a task."""

from dataclasses import dataclass, field

from scripts.bulk.storage import UNKNOWN, Version, scheme_of


@dataclass(frozen=True)
class Entry:
    """An image that a source has listed."""

    #: Where it is read: an absolute path, or a URL; for files inside a list, the list and the row.
    path: str
    #: Its path inside the source, with slashes; answers are named after it.
    name: str
    #: Version according to the listing; unknown if a list gives just a URL.
    version: Version = UNKNOWN
    #: The file itself, if a list holds it.
    data: bytes | None = field(default=None, repr=False)


def clean_name(path: str) -> str:
    """Return the relative path that answers are named after: of a URL what follows its host or bucket; nothing leads up."""
    if scheme_of(path):
        path = path.partition("://")[2].partition("?")[0].partition("/")[2]
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    return "/".join(parts) or "image"

"""An image listed by a source, before it becomes a task."""

from dataclasses import dataclass, field

from scripts.bulk.storage import UNKNOWN, Version, url_scheme


@dataclass(frozen=True)
class Entry:
    """An image listed by a source."""

    #: Where to read it: an absolute path or a URL; for files inside a list, the list and the row.
    path: str
    #: Path relative to the source, with slashes; answers are named after it.
    name: str
    #: Version according to the listing; unknown if a list only has a URL.
    version: Version = UNKNOWN
    #: The file's content, if it is in a list.
    data: bytes | None = field(default=None, repr=False)


def clean_name(path: str) -> str:
    """Return the relative path for naming answers: for URLs, the part after host or bucket; without `.` and `..`."""
    if url_scheme(path):
        path = path.partition("://")[2].partition("?")[0].partition("/")[2]
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    return "/".join(parts) or "image"

"""Errors of data sets, and how their messages list files and counts."""

from collections.abc import Iterable, Sequence

from scripts.errors import UserError

#: Most files or values named in one message.
MAX_LISTED = 8


class DataError(UserError):
    """A data set cannot be used. The message names the files and what would be right."""


class WrongValues(DataError):
    """A mask holds values that are not class indices."""


def pixels(count: int) -> str:
    return "1 pixel" if count == 1 else f"{count:,} pixels"


def list_some(items: Sequence[str] | Iterable[str], limit: int = MAX_LISTED) -> str:
    """Return the first of `items`, comma-separated, and how many more there are."""
    texts = list(items)
    more = f" and {len(texts) - limit:,} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more

"""Errors of data sets, and how their messages list files and counts."""

from collections.abc import Iterable, Sequence

from scripts.errors import UserError

#: Most files or values named in one message.
MOST_NAMED = 8


class DataError(UserError):
    """A data set cannot be used. The message names the files and what would be right."""


class WrongValues(DataError):
    """A mask holds values that are not class indices."""


def pixels(count: int) -> str:
    return "1 pixel" if count == 1 else f"{count:,} pixels"


def some_of(items: Sequence[str] | Iterable[str], most: int = MOST_NAMED) -> str:
    """Return the first of `items`, comma-separated, and how many more there are."""
    named = list(items)
    more = f" and {len(named) - most:,} more" if len(named) > most else ""
    return ", ".join(named[:most]) + more

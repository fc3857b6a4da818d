"""Quote a client's input in error messages: short and fast, however long or deeply nested the value is."""

from collections.abc import Iterable, Mapping
from typing import Any

_MOST_CHARACTERS = 80
_MOST_MESSAGE_CHARACTERS = 1_500
_MOST_NAMES = 8


def quoted(value: Any) -> str:
    """Return text in quotes (only the beginning of long text), a number in digits, and the kind of any other JSON value."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]!r}… ({len(value):,} characters)"
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value)
        return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
    return json_name(value)


def listed(names: Iterable[str]) -> str:
    """Return the names in quotes; if there are many, only the first few."""
    first = [quoted(name) for name in names]
    return ", ".join(first if len(first) <= _MOST_NAMES else [*first[:_MOST_NAMES], f"… ({len(first)} in all)"])


def json_name(value: Any) -> str:
    """Return the kind of a JSON value, in words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, name in ((int | float, "a number"), (list, "a list"), (Mapping, "an object")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "text"


def shortened(message: str) -> str:
    """Return `message`, without its middle if it is too long: the fault is at its beginning, the remedy at its end."""
    left_out = len(message) - _MOST_MESSAGE_CHARACTERS
    if left_out <= 0:
        return message
    half = _MOST_MESSAGE_CHARACTERS // 2
    return f"{message[:half]} … ({left_out:,} characters left out) … {message[-half:]}"

"""Quote a client's input in error messages: short and fast, however long or deeply nested the value is."""

from collections.abc import Iterable, Mapping
from typing import Any

_MAX_QUOTED = 80
_MAX_MESSAGE_CHARACTERS = 1_500
_MAX_NAMES = 8


def quoted(value: Any) -> str:
    """Return text in quotes (only the beginning of long text), a number in digits, and the kind of any other JSON value."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _MAX_QUOTED else f"{value[:_MAX_QUOTED]!r}… ({len(value):,} characters)"
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value)
        return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"
    return json_name(value)


def listed(names: Iterable[str]) -> str:
    """Return the names in quotes; if there are many, only the first few."""
    quoted_names = [quoted(name) for name in names]
    if len(quoted_names) > _MAX_NAMES:
        quoted_names = [*quoted_names[:_MAX_NAMES], f"… ({len(quoted_names)} in all)"]
    return ", ".join(quoted_names)


def json_name(value: Any) -> str:
    """Return the kind of a JSON value, in words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, name in ((int | float, "a number"), (list, "a list"), (Mapping, "an object")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "text"


def shorten(message: str) -> str:
    """Return `message`, without its middle if it is too long: the fault is at its beginning, the remedy at its end."""
    omitted = len(message) - _MAX_MESSAGE_CHARACTERS
    if omitted <= 0:
        return message
    half = _MAX_MESSAGE_CHARACTERS // 2
    return f"{message[:half]} … ({omitted:,} characters left out) … {message[-half:]}"

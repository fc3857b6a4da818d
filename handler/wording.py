"""What a client sent, as an error may repeat it: short and quick to write, however long or deeply nested it is."""

from collections.abc import Iterable, Mapping
from typing import Any

_LONGEST = 80
_LONGEST_MESSAGE = 1_500
_MOST = 8


def quoted(value: Any) -> str:
    """`value` (text, or what JSON holds): text in quotes, of a long one the beginning; a number; of others the kind."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _LONGEST else f"{value[:_LONGEST]!r}… ({len(value):,} characters)"
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return json_name(value)


def listed(names: Iterable[str]) -> str:
    """Names in quotes, of many the first."""
    first = [quoted(name) for name in names]
    return ", ".join(first if len(first) <= _MOST else [*first[:_MOST], f"… ({len(first)} in all)"])


def json_name(value: Any) -> str:
    """What `value` is called in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, name in ((int | float, "a number"), (list, "a list"), (Mapping, "an object")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "text"


def shortened(message: str) -> str:
    """`message` without its middle, if it is longer than people read: what is wrong comes first, and what is right last."""
    left_out = len(message) - _LONGEST_MESSAGE
    if left_out <= 0:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[:half]} … ({left_out:,} characters left out) … {message[-half:]}"

"""What clients sent, quoted in messages: the beginning of it, however much it is."""

import reprlib
from typing import Any

_LONGEST_TEXT = 100
_LONGEST_MESSAGE = 1_500


def quoted(value: Any) -> str:
    """`value` as Python writes it, shortened where it is long, and where it is nested so deeply that `repr` would fail."""
    return _shortener.repr(value)


def shortened(message: str) -> str:
    """`message` without its middle, if it is longer than people read: what is wrong comes first, and what is right last."""
    left_out = len(message) - _LONGEST_MESSAGE
    if left_out <= 0:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[:half]} … ({left_out:,} characters left out) … {message[-half:]}"


def _shortening() -> reprlib.Repr:
    shortener = reprlib.Repr()
    shortener.maxlevel = 3
    shortener.maxstring = shortener.maxother = shortener.maxlong = _LONGEST_TEXT
    return shortener


_shortener = _shortening()

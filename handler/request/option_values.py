"""Kinds of values that options take: from what a client sent, text or JSON, to the value, or an error in words."""

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from handler.options import usable_scales
from handler.wording import quoted
from model.strict import nearest, suggestion

_ALL = "all"
#: Of an index.
_MOST_DIGITS = 9


class Values(Protocol):
    """The values that one option may have."""

    @property
    def allowed(self) -> str:
        """All of them, in words."""

    @property
    def schema(self) -> dict[str, Any]:
        """All of them, as JSON Schema."""

    def parse(self, given: Any) -> Any:
        """The value that `given` (text, or what JSON holds) stands for.

        Raises:
            ValueError: naming `given` and what is wrong with it.
        """


@dataclass(frozen=True)
class Choice:
    """One of some words, in any case."""

    words: Collection[str]

    @property
    def allowed(self) -> str:
        return ", ".join(f"`{word}`" for word in self.words)

    @property
    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}

    def parse(self, given: Any) -> str:
        if not isinstance(given, str):
            raise ValueError(f"{quoted(given)} is not text")
        word = given.strip().lower()
        if word not in self.words:
            raise ValueError(f"{quoted(given)} does not exist{suggestion(word, self.words)}")
        return word


@dataclass(frozen=True)
class Flag:
    """True or false."""

    allowed: str = "`true`, `false`"

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def parse(self, given: Any) -> bool:
        if isinstance(given, bool):
            return given
        word = given.strip().lower() if isinstance(given, str) else ""
        if word not in ("true", "false"):
            raise ValueError(f"{quoted(given)} is neither true nor false")
        return word == "true"


@dataclass(frozen=True)
class Number:
    """A number within bounds."""

    least: float
    greatest: float

    @property
    def allowed(self) -> str:
        return f"{self.least:g} … {self.greatest:g}"

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.least, "maximum": self.greatest}

    def parse(self, given: Any) -> float:
        value = _number(given)
        _require_within(value, self.least, self.greatest)
        return value


@dataclass(frozen=True)
class Count:
    """A whole number within bounds."""

    least: int
    greatest: int

    @property
    def allowed(self) -> str:
        return f"whole numbers, {self.least} … {self.greatest}"

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.greatest}

    def parse(self, given: Any) -> int:
        value = _number(given)
        _require_within(value, self.least, self.greatest)
        if value != int(value):
            raise ValueError(f"{quoted(given)} is not a whole number")
        return int(value)


@dataclass(frozen=True)
class Scales:
    """Distinct numbers within bounds, not too many: a JSON list, or separated by commas."""

    least: float
    greatest: float
    most: int

    @property
    def allowed(self) -> str:
        return f"up to {self.most} of {self.least:g} … {self.greatest:g}, as `0.75,1,1.25`"

    @property
    def schema(self) -> dict[str, Any]:
        item = {"type": "number", "minimum": self.least, "maximum": self.greatest}
        return {"type": "array", "items": item, "minItems": 1, "maxItems": self.most, "uniqueItems": True}

    def parse(self, given: Any) -> tuple[float, ...]:
        pieces = _listed(given)
        if len(pieces) > self.most:
            raise ValueError(f"{len(pieces)} scales are more than this server's limit of {self.most}")
        return usable_scales([_number(piece) for piece in pieces])


@dataclass(frozen=True)
class Classes:
    """Classes by name or index: a JSON list, or separated by commas."""

    names: Sequence[str]

    @property
    def allowed(self) -> str:
        return "names or indices, as `cat,dog` or `8,12`; `all`"

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1}

    def parse(self, given: Any) -> tuple[int, ...] | None:
        """Indices in ascending order; None: all."""
        if isinstance(given, str) and given.strip().lower() == _ALL and _ALL not in self.names:
            return None
        # A name may have commas of its own.
        pieces = [given] if isinstance(given, str) and given in self.names else _listed(given)
        if len(pieces) > len(self.names):
            raise ValueError(f"{len(pieces):,} classes are more than the {len(self.names)} that there are")
        found = {self._index(piece) for piece in pieces}
        if not found:
            raise ValueError("names no class")
        return tuple(sorted(found))

    def _index(self, piece: Any) -> int:
        if isinstance(piece, bool) or not isinstance(piece, str | int):
            raise ValueError(f"{quoted(piece)} is neither a class's name nor its index")
        text = str(piece).strip()
        folded = [name.casefold() for name in self.names]
        if not isinstance(piece, int) and text in self.names:
            return self.names.index(text)
        if not isinstance(piece, int) and folded.count(text.casefold()) == 1:
            return folded.index(text.casefold())
        if not text.isdecimal() or len(text) > _MOST_DIGITS:
            raise ValueError(f"there is no class {quoted(text)}{nearest(text, self.names)}")
        if int(text) >= len(self.names):
            raise ValueError(f"there is no class {int(text)}, the last is {len(self.names) - 1}, {self.names[-1]!r}")
        return int(text)


def _listed(given: Any) -> list[Any]:
    if isinstance(given, str) and given.lstrip().startswith("["):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{quoted(given)} is not a JSON list") from error
    if isinstance(given, str):
        return given.split(",")
    return list(given) if isinstance(given, list) else [given]


def _number(given: Any) -> float:
    try:
        if isinstance(given, str | int | float) and not isinstance(given, bool):
            value = float(given)
            if not math.isnan(value):
                return value
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{quoted(given)} is not a number")


def _require_within(value: float, least: float, greatest: float) -> None:
    if value < least:
        raise ValueError(f"{_shortest(value)} is below {least:g}")
    if value > greatest:
        raise ValueError(f"{_shortest(value)} is above {greatest:g}")


def _shortest(value: float) -> str:
    """With every digit that tells it from its neighbours, as 1.0000001 from 1."""
    return repr(value).removesuffix(".0")

"""Pydantic annotations for option types: how JSON and text become a value, and a JSON Schema that accepts exactly that JSON.

Headers, form fields and other untyped sources hold `Text`: words in any case, numbers in any decimal notation. A JSON string is
accepted as text too, but only in the notation that a schema can describe: exact words, plain decimals.
"""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from handler.wording import quoted
from model.strict import name_hint

#: The greatest band number in an option.
MAX_BAND = 999
#: The greatest value of a range; it and differences of two such values fit in single precision.
MAX_VALUE = 1e38

_ALL = "all"
#: `float` would also accept 0_2, ٢ and nan.
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
#: No control characters, line separators or halves of surrogate pairs; not `.` or `..`, and not a folder. Valid in JSON Schema.
_FILE_NAME = r"^(?!(?:.*[\\/])?\.{0,2}$)[^\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]+$(?!\n)"
#: Python refuses to convert thousands of digits.
_INDEX = re.compile(r"[0-9]{1,9}")
_BAND_PATTERN = "[1-9][0-9]{0,2}"
_VALUE_PATTERN = r"-?[0-9]{1,38}(?:\.[0-9]+)?(?:e-[0-9]{1,3})?"


class Text(str):
    """An option's value from an untyped source, such as a header."""


def _fold_word(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, Text) else value


def _read_flag(value: Any) -> bool:
    word = _fold_word(value)
    if not isinstance(word, bool) and word not in ("true", "false"):
        raise ValueError(f"{quoted(value)} is neither true nor false")
    return word in (True, "true")


WORD = BeforeValidator(_fold_word)
Flag = Annotated[bool, BeforeValidator(_read_flag), WithJsonSchema({"enum": [True, False, "true", "false"]})]


@dataclass(frozen=True)
class Number:
    """Annotates a float from `minimum` to `maximum`. Only `minimum` may have decimals."""

    minimum: float
    maximum: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        bounded: Any = {**handler(source), "ge": self.minimum, "le": self.maximum}
        return core_schema.no_info_before_validator_function(self.read, bounded)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        number = handler(schema)
        return {**number, "type": [number["type"], "string"], "pattern": _anchor(self.pattern)}

    @cached_property
    def pattern(self) -> str:
        """A regular expression for the numbers within the bounds, as Python and JavaScript write them."""
        first, last, digits = int(self.minimum), self.maximum, f"{self.minimum:g}".partition(".")[2]
        above = [rf"{first}\.{digits[:i]}[{int(digit) + 1}-9][0-9]*" for i, digit in enumerate(digits) if digit != "9"]
        lowest = [*above, rf"{first}\.{digits}[0-9]*"] if digits else [rf"{first}(?:\.[0-9]+)?"]
        between = [rf"{integer}(?:\.[0-9]+)?" for integer in range(first + 1, last)]
        tiny = [] if self.minimum else [r"[0-9](?:\.[0-9]+)?e-0*[1-9][0-9]*"]
        return "|".join([*lowest, *between, rf"{last}(?:\.0+)?", *tiny])

    def read(self, value: Any) -> float:
        """Return the number that `value` spells, without checking the bounds."""
        number = _to_number(value)
        if type(value) is str and self.minimum <= number <= self.maximum and not re.search(_anchor(self.pattern), value):
            raise ValueError(f"{quoted(value)} is not a plain decimal number")
        return number


@dataclass(frozen=True)
class WholeNumber(Number):
    """Annotates an int from `minimum` to `maximum`."""

    @cached_property
    def pattern(self) -> str:
        return "|".join(map(str, range(int(self.minimum), self.maximum + 1)))

    def read(self, value: Any) -> int:
        return _to_integer(value, super().read(value))


@dataclass(frozen=True)
class _PlainDecimal:
    """Reads numbers without bounds; JSON strings must match `pattern`."""

    pattern: str

    def read(self, value: Any) -> float:
        number = _to_number(value)
        if type(value) is str and not re.search(_anchor(self.pattern), value):
            raise ValueError(f"{quoted(value)} is not a plain decimal number")
        return number


@dataclass(frozen=True)
class NumberList:
    """Annotates a tuple of ascending distinct numbers, given as a list, a single number, or comma-separated text."""

    number: Number
    max_items: int = 1_000

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        numbers: Any = {**handler(source), "min_length": 1, "max_length": self.max_items}
        ascending = core_schema.no_info_after_validator_function(lambda values: tuple(sorted(set(values))), numbers)
        return core_schema.no_info_before_validator_function(lambda value: _split_items(value, self.max_items), ascending)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        array = handler(schema)
        pattern = _anchor(_comma_separated(self.number.pattern, self.max_items))
        return {**array["items"], **array, "type": ["array", "number", "string"], "pattern": pattern}


@dataclass(frozen=True)
class ImageName:
    """Annotates a file name, with or without a path: printable text whose last component is more than dots."""

    max_length: int = 255

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "minLength": 1, "maxLength": self.max_length, "pattern": _FILE_NAME}

    def read(self, value: Any) -> str:
        """Return `value` if it is a file name.

        Raises:
            ValueError: it is not a file name.
        """
        if not isinstance(value, str):
            raise ValueError(f"{quoted(value)} is not text")
        if len(value) > self.max_length:
            raise ValueError(f"{quoted(value)} is too long")
        if not re.search(_FILE_NAME, value):
            raise ValueError(f"{quoted(value)} is not the name of a file")
        return str(value)


@dataclass(frozen=True)
class BandNumbers:
    """Annotates one band number or three in order, given as a list, a single number or comma-separated text; or a word."""

    default_word: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        del schema, handler
        item = {"type": ["integer", "string"], "minimum": 1, "maximum": MAX_BAND}
        texts = f"{self.default_word}|{_comma_separated(_BAND_PATTERN, 1)}|{_comma_separated(_BAND_PATTERN, 3, 3)}"
        return {
            **item,
            "type": ["array", "integer", "string"],
            "pattern": _anchor(texts),
            "items": {**item, "pattern": _anchor(_BAND_PATTERN)},
            "minItems": 1,
            "maxItems": 3,
            "not": {"type": "array", "minItems": 2, "maxItems": 2},
        }

    def read(self, value: Any) -> tuple[int, ...] | str:
        """Return the band numbers, or the word.

        Raises:
            ValueError: a number is out of range, or there are two numbers.
        """
        if _fold_word(value) == self.default_word:
            return self.default_word
        numbers = tuple(_to_integer(piece, _BAND.read(piece)) for piece in _split_items(value, 3))
        if len(numbers) == 2:
            raise ValueError(f"{quoted(','.join(map(str, numbers)))} are two bands")
        for number in numbers:
            if not 1 <= number <= MAX_BAND:
                raise ValueError(f"there is no band {quoted(number)}")
        return numbers


@dataclass(frozen=True)
class ValueRange:
    """Annotates two numbers, as a list or comma-separated text, or one of `words`. The order of the two is not checked here."""

    words: Sequence[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        del schema, handler
        texts = "|".join([*self.words, _comma_separated(_VALUE_PATTERN, 2, 2)])
        item = {
            "type": ["number", "string"],
            "minimum": -MAX_VALUE,
            "maximum": MAX_VALUE,
            "pattern": _anchor(_VALUE_PATTERN),
        }
        return {"type": ["array", "string"], "pattern": _anchor(texts), "items": item, "minItems": 2, "maxItems": 2}

    def read(self, value: Any) -> tuple[float, float] | str:
        """Return the two numbers, or the word.

        Raises:
            ValueError: `value` is neither.
        """
        if isinstance(word := _fold_word(value), str) and word in self.words:
            return word
        values = [_VALUE.read(piece) for piece in _split_items(value, 2)]
        if len(values) != 2:
            raise ValueError(f"{quoted(value)} is one value")
        for number in values:
            if abs(number) > MAX_VALUE:
                raise ValueError(f"{quoted(number)} is beyond {MAX_VALUE:g}")
        return float(values[0]), float(values[1])


@dataclass(frozen=True)
class ClassNames:
    """Annotates ascending class indices, None for all; given as names or indices: a list, a single one or text with commas."""

    names: Sequence[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        del schema, handler
        count, names = len(self.names), "|".join(map(_escape, self.names))
        listable = [_escape(name) for name in self.names if "," not in name and name == name.strip(" ")]
        indices = [str(index) for index in range(count)]
        item = {"type": ["integer", "string"], "minimum": 0, "maximum": count - 1}
        texts = f"{_ALL}|{names}|{_comma_separated('|'.join([*listable, *indices]), count)}"
        return {
            **item,
            "type": ["array", "integer", "string", "null"],
            "pattern": _anchor(texts),
            "items": {**item, "pattern": _anchor("|".join([names, *indices]))},
            "minItems": 1,
            "maxItems": count,
        }

    def read(self, value: Any) -> tuple[int, ...] | None:
        """Return the indices that `value` names.

        Raises:
            ValueError: a class does not exist, or none is named.
        """
        if value is None or (_fold_word(value) == _ALL and _ALL not in self.names):
            return None
        # A name may contain commas.
        pieces = [value] if value in self.names else _split_items(value, len(self.names))
        return tuple(sorted({self._index(piece) for piece in pieces}))

    def _index(self, piece: Any) -> int:
        if not isinstance(piece, str):
            index = WholeNumber(0, len(self.names)).read(piece)
        elif (class_index := self._find_name(piece)) is not None:
            return class_index
        elif _INDEX.fullmatch(text := piece.strip()) and (isinstance(piece, Text) or str(int(text)) == piece):
            index = int(text)
        else:
            raise ValueError(f"there is no class {quoted(text)}{name_hint(text, self.names)}")
        if not 0 <= index < len(self.names):
            raise ValueError(f"there is no class {quoted(index)}, the last is {len(self.names) - 1}, {self.names[-1]!r}")
        return index

    def _find_name(self, piece: str) -> int | None:
        """Return the index of the class called `piece`, or None; `Text` may be in any case if only one name matches."""
        name = piece.strip() if isinstance(piece, Text) else piece
        if name in self.names:
            return self.names.index(name)
        matches = [index for index, class_name in enumerate(self.names) if class_name.casefold() == name.casefold()]
        return matches[0] if isinstance(piece, Text) and len(matches) == 1 else None


_BAND, _VALUE = _PlainDecimal(_BAND_PATTERN), _PlainDecimal(_VALUE_PATTERN)


def _to_number(value: Any) -> float:
    """Return the number that `value` is or spells."""
    is_decimal = isinstance(value, str) and _DECIMAL.fullmatch(value.strip())
    number = float(value) if is_decimal else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= sys.float_info.max:
        raise ValueError(f"{quoted(value)} is not a number")
    return number


def _to_integer(value: Any, number: float) -> int:
    if number != int(number):
        raise ValueError(f"{quoted(value)} is not a whole number")
    return int(number)


def _split_items(value: Any, max_items: int) -> list[Any]:
    """Return the items of a list or of comma-separated text, or a single value; refuse more than `max_items`."""
    items = value
    if isinstance(value, Text) and value.lstrip().startswith("["):
        try:
            items = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{quoted(value)} is not a JSON list") from error
    elif isinstance(value, str):
        items = [type(value)(piece.strip(" ")) for piece in value.split(",")]
    items = list(items) if isinstance(items, list | tuple) else [items]
    if not items:
        raise ValueError("the list is empty")
    if len(items) > max_items:
        raise ValueError(f"{len(items):,} values are more than the limit of {max_items:,}")
    return items


def _comma_separated(item: str, max_items: int, min_items: int = 1) -> str:
    return rf" *(?:{item})(?: *, *(?:{item})){{{min_items - 1},{max_items - 1}}} *"


def _anchor(pattern: str) -> str:
    """Return a pattern that matches whole strings; Python's `$` alone would allow a trailing newline."""
    return rf"^(?:{pattern})$(?!\n)"


def _escape(name: str) -> str:
    """Escape special characters for JSON Schema's regular expressions, which reject some escapes of `re.escape`."""
    return re.sub(r"[\\^$.*+?()\[\]{}|/]", r"\\\g<0>", name)

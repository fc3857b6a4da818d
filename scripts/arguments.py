"""A consistent command line for all programs: one parser class, and the types of options.

Every type raises `argparse.ArgumentTypeError` with the value and what would be right.
"""

import argparse
import math
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from scripts.errors import UsageError


class Parser(argparse.ArgumentParser):
    """A program's parser, described by its module's docstring: the first paragraph above the options, the rest below."""

    #: The command line being parsed by `parse_args`, which accepts no unknown options.
    _argv: Sequence[str] = ()

    def __init__(self, prog: str, docstring: str | None = None, **kwargs: object) -> None:
        description, _, examples = (docstring or "").partition("\n\n")
        texts = {"description": description, "epilog": examples, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(prog, allow_abbrev=False, **texts | kwargs)  # type: ignore[arg-type]

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        # Kept for `error`: a mistyped option is often a required one, which argparse would only report as missing.
        self._argv = sys.argv[1:] if args is None else args
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """
        Raises:
            UsageError: always.
        """
        if "required" in message or "unrecognized" in message:
            message = self._unknown_option() or message
        raise UsageError(f"{message}\n{self.prog} --help lists the options")

    def _unknown_option(self) -> str:
        """Return a message on the first unknown option, or "" for a program with subcommands, which have more options."""
        from model.strict import closest_name_hint  # Not at the top: it imports pydantic.

        words = (word.partition("=")[0] for word in self._argv)
        known = [name for name in self._option_string_actions if name.startswith("--")]
        unknown = next((word for word in words if word[:2] == "--" and word not in known), None)
        return f"unknown option {unknown}{closest_name_hint(unknown, known)}" if unknown and not self._subparsers else ""


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return a type for whole numbers from `minimum` to `maximum`, both included."""
    bounds = f"{minimum} or more" if maximum is None else f"from {minimum} to {maximum}"

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]+", text) or int(text) < minimum or (maximum is not None and int(text) > maximum):
            raise ArgumentTypeError(f"{text!r} must be a whole number, {bounds}")
        return int(text)

    return parse


def number(minimum: float, maximum: float, noun: str = "a number") -> Callable[[str], float]:
    """Return a type for numbers from `minimum` to `maximum`, both included; `noun` names them in errors."""

    def parse(text: str) -> float:
        value = _parse_float(text)
        if not minimum <= value <= maximum:
            raise ArgumentTypeError(f"{text!r} must be {noun} from {minimum:g} to {maximum:g}")
        return value

    return parse


positive_int = whole_number(1)
fraction = number(0, 1, "a fraction")


def seconds(text: str) -> float:
    value = _parse_float(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"{text!r} must be a number of seconds above 0")
    return value


def existing_file(text: str) -> Path:
    if not (path := Path(text)).is_file():
        raise ArgumentTypeError(f"{text!r} is a folder, should be a file" if path.exists() else f"{text!r}: no such file")
    return path


def existing_folder(text: str) -> Path:
    if not (path := Path(text)).is_dir():
        raise ArgumentTypeError(f"{text!r} is a file, should be a folder" if path.exists() else f"{text!r}: no such folder")
    return path


def existing_path(text: str) -> Path:
    if not (path := Path(text)).exists():
        raise ArgumentTypeError(f"{text!r}: no such file or folder")
    return path


def http_url(example: str) -> Callable[[str], str]:
    """Return a type for http and https URLs, such as `example`."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # The port is not a number.
            usable = False
        if not usable:
            raise ArgumentTypeError(f"{text!r} must be a URL such as {example}")
        return text

    return parse


def http_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not name.strip() or not colon or not text.isascii() or not text.isprintable():
        raise ArgumentTypeError(f"{text!r}: must be 'NAME: VALUE', such as 'Authorization: Bearer KEY'")
    return name.strip(), value.strip()


def request_option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"{text!r}: must be NAME=VALUE, such as scales=0.75,1")
    return name.strip().lower(), value


def add_request_options(parser: argparse.ArgumentParser, description: str) -> None:
    """Add the repeatable `--option NAME=VALUE`; `description` describes it in the help."""
    parser.add_argument(
        "--option", type=request_option, action="append", default=[], metavar="NAME=VALUE", help=f"{description}; repeatable"
    )


def collect_options(pairs: Sequence[tuple[str, str]], alternatives: Mapping[str, str]) -> dict[str, str]:
    """Return the values given as `--option NAME=VALUE`, by name.

    Args:
        pairs: from `request_option`.
        alternatives: request fields that this program sets in another way: names, and what to use instead.

    Raises:
        UsageError: a name is in `alternatives`, or is given twice.
    """
    options: dict[str, str] = {}
    names = [name for name, _ in pairs]
    for name, value in pairs:
        if name in alternatives:
            raise UsageError(f"--option {name}: is not an option of the server; use {alternatives[name]}")
        if name in options:
            raise UsageError(f"--option {name}: is given {names.count(name)} times; give it once")
        options[name] = value
    return options


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """Return a type that accepts one of `names`; its error suggests the nearest."""

    def parse(text: str) -> str:
        if text not in names:
            from model.strict import name_hint  # Not at the top: it imports pydantic.

            raise ArgumentTypeError(f"unknown name {text!r}{name_hint(text, names)}")
        return text

    return parse


def some_of(names: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Return a type for a comma-separated list of `names`; repeated names count once."""
    parse_one = one_of(names)
    return lambda text: tuple(dict.fromkeys(parse_one(name.strip()) for name in text.split(",")))


def _parse_float(text: str) -> float:
    """Return the number, or NaN for other text, including Python's `1_000` and digits of other scripts."""
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan

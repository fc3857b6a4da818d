"""Read and write class names: TorchServe's `index_to_name.json`, or one name per line."""

import json
from collections.abc import Iterable
from pathlib import Path

from handler.labels import BACKGROUND, is_background
from scripts.errors import UserError
from scripts.text_file import TextFileError, read_lines, read_text

DEFAULT = Path(__file__).parent.parent / "index_to_name.json"

#: Labelme's lists begin with this name, for pixels to ignore.
_IGNORED = {"__ignore__", "_ignore_"}


class ClassNamesError(UserError):
    """A file does not hold class names."""


def read_class_names(path: Path = DEFAULT) -> tuple[str, ...]:
    """Read class names in index order: a JSON object `{"0": "background", ...}`, a JSON list, or text with one name per line.

    Text is UTF-8 or UTF-16, with or without a byte order mark. Every spelling of background becomes `background`, and Labelme's
    `__ignore__` is dropped.

    Raises:
        ClassNamesError: the file has another format, names no class, names background twice, or has a gap in its indices.
    """
    try:
        names = _json_names(path) if path.suffix == ".json" else _listed_names(path)
    except TextFileError as error:
        raise ClassNamesError(str(error)) from error
    if not names:
        raise ClassNamesError(f"{path}: names no class; write one name per line")
    if names.count(BACKGROUND) > 1:
        raise ClassNamesError(f"{path}: names background {names.count(BACKGROUND)} times, in any spelling; keep one of them")
    return names


def canonical_name(name: str) -> str:
    """Return `background` for any spelling of it (`_background_`, `__background__`, `Background`), or `name` unchanged."""
    return BACKGROUND if is_background(name) else name


def canonical_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return `names` with every spelling of background as `background`."""
    return tuple(map(canonical_name, names))


def is_ignored(name: str) -> bool:
    """Return whether `name` is Labelme's name for pixels to ignore."""
    return name.casefold() in _IGNORED


def index_to_name(names: tuple[str, ...]) -> str:
    """Return the text of an `index_to_name.json`."""
    return json.dumps({str(index): name for index, name in enumerate(names)}, indent=2, ensure_ascii=False) + "\n"


def _listed_names(path: Path) -> tuple[str, ...]:
    return canonical_names(name for name in read_lines(path) if not is_ignored(name))


def _json_names(path: Path) -> tuple[str, ...]:
    try:
        data = json.loads(read_text(path))
    except ValueError as error:
        raise ClassNamesError(f"{path}: is not JSON: {error}") from error
    if isinstance(data, list):
        return canonical_names(map(str, data))
    expected = [str(index) for index in range(len(data))] if isinstance(data, dict) else []
    if not expected or sorted(data) != sorted(expected):
        raise ClassNamesError(f'{path}: must map every index from "0" to a name, without gaps')
    return canonical_names(str(data[index]) for index in expected)

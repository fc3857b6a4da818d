"""Read and write class names: TorchServe's `index_to_name.json`, or one name per line."""

import json
from pathlib import Path

from scripts.errors import UserError

DEFAULT = Path(__file__).parent.parent / "index_to_name.json"


class ClassNamesError(UserError):
    """A file does not hold class names."""


def read_class_names(path: Path = DEFAULT) -> tuple[str, ...]:
    """Read names by class index: a JSON object `{"0": "background", ...}`, a JSON list, or text with one name per line.

    Raises:
        ClassNamesError: the file is none of these, or its indices have a gap.
    """
    text = path.read_text()
    if path.suffix != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ClassNamesError(f"{path}: is not JSON: {error}") from error
    if isinstance(data, list):
        return tuple(map(str, data))
    expected = [str(index) for index in range(len(data))] if isinstance(data, dict) else []
    if not expected or sorted(data) != sorted(expected):
        raise ClassNamesError(f'{path}: must map every index from "0" to a name, without gaps')
    return tuple(str(data[index]) for index in expected)


def index_to_name(names: tuple[str, ...]) -> str:
    """Return the text of an `index_to_name.json`."""
    return json.dumps({str(index): name for index, name in enumerate(names)}, indent=2, ensure_ascii=False) + "\n"

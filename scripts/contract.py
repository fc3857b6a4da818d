"""Generate the tables of formats, options and limits in docs/http-api.md from their declarations in the code.

python -m scripts.contract
python -m scripts.contract --write docs/http-api.md
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from handler.answers import FORMATS
from handler.labels import Labels
from handler.limits import Limits
from handler.request.option_table import Option, option_table
from handler.settings import HandlerSettings
from model import read_metadata
from scripts.arguments import Parser
from scripts.errors import UserError, report_errors
from scripts.package import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG
from scripts.yaml_file import read_mapping

BEGIN = "<!-- Written by `python -m scripts.contract --write docs/http-api.md`. -->"
END = "<!-- The end of what it writes. -->"


class MarksMissing(UserError):
    """A file lacks the marks that enclose the tables."""


def tables() -> str:
    """Return the tables as Markdown, with the limits and defaults of the shipped configuration."""
    settings = HandlerSettings.parse(read_mapping(DEFAULT_MODEL_CONFIG)["handler"], source=str(DEFAULT_MODEL_CONFIG))
    options = option_table(settings, Labels.from_metadata(read_metadata(DEFAULT_CHECKPOINT)))
    return "\n\n".join([_formats(), _options(options.values()), _limits(settings.limits)])


def with_tables(document: str) -> str:
    """Return `document` with the tables between its marks.

    Raises:
        MarksMissing: `document` does not have both marks, once each and in order.
    """
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(BEGIN) > document.index(END):
        raise MarksMissing(
            f"should have the lines {BEGIN!r} and {END!r}, once each and in this order: the tables go between them"
        )
    before, after = document.split(BEGIN)[0], document.split(END)[1]
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def _formats() -> str:
    rows = [(_code(name), _code(entry.content_type), entry.summary) for name, entry in FORMATS.items()]
    return _table(("`format`", "content type", "answer"), rows)


def _options(options: Iterable[Option]) -> str:
    rows = [(_code(option.name), option.allowed, _default(option.default), option.description) for option in options]
    return _table(("option", "values", "default", "what it does"), rows)


def _limits(limits: Limits) -> str:
    rows = [(_code(name), f"{getattr(limits, name):,}", field.description or "") for name, field in Limits.model_fields.items()]
    return _table(("limit", "at most", "of"), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(_row(cells) for cells in [header, ["---"] * len(header), *rows])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _default(value: Any) -> str:
    """Return a default as a client would write it; None stands for all classes."""
    return "all" if value is None else _code(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _code(text: str) -> str:
    return f"`{text}`"


@report_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = Parser("python -m scripts.contract", __doc__)
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the tables between the marks in FILE; default: print them"
    )
    file = parser.parse_args(argv).write
    if file is None:
        print(tables())
    else:
        try:
            file.write_text(with_tables(file.read_text()))
        except MarksMissing as error:
            raise MarksMissing(f"{file}: {error}") from error
    return 0


if __name__ == "__main__":
    sys.exit(main())

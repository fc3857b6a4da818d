from pathlib import Path

import pytest

from handler.answers import FORMATS
from handler.limits import Limits
from handler.options import AnswerOptions, InferenceOptions
from scripts.contract import BEGIN, END, MarksMissing, main, tables, with_tables
from tests.support import ROOT


def test_the_document_has_the_tables_of_the_code() -> None:
    document = (ROOT / "docs/http-api.md").read_text()

    assert with_tables(document) == document, "run python -m scripts.contract --write docs/http-api.md"


@pytest.mark.parametrize("name", [*FORMATS, *InferenceOptions.model_fields, *AnswerOptions.model_fields, *Limits.model_fields])
def test_every_format_option_and_limit_has_a_row(name: str) -> None:
    rows = [line for line in tables().splitlines() if line.startswith(f"| `{name}` |")]

    assert rows
    assert all(cell.strip() for row in rows for cell in row.strip("|").split("|"))


def test_defaults_and_limits_are_those_of_the_shipped_configuration() -> None:
    generated = tables()

    assert "| `max_response_bytes` | 32,000,000 |" in generated
    assert "| `scales` | up to 6 of 0.25 … 2, as `0.75,1,1.25` | `1` |" in generated
    assert "; `all` | all |" in generated


def test_text_around_the_marks_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.md"
    file.write_text(f"before\n\n{BEGIN}\nan old table\n{END}\n\nafter\n")

    assert main(["--write", str(file)]) == 0

    assert file.read_text() == f"before\n\n{BEGIN}\n\n{tables()}\n\n{END}\n\nafter\n"
    assert capsys.readouterr().out == ""


def test_tables_are_printed_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == f"{tables()}\n"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {END} {BEGIN} {END}"])
def test_a_file_without_valid_marks_is_not_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    file = tmp_path / "a.md"
    file.write_text(text)

    assert main(["--write", str(file)]) == 1

    assert file.read_text() == text
    assert f"{file}: should have the lines" in capsys.readouterr().err
    with pytest.raises(MarksMissing):
        with_tables(text)

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.arguments import (
    Parser,
    existing_file,
    existing_folder,
    fraction,
    http_url,
    number,
    one_of,
    positive_int,
    seconds,
    some_of,
    whole_number,
)
from scripts.errors import UsageError

url = http_url("http://127.0.0.1:8080/predictions/deeplabv3")


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (positive_int, "1", 1),
        (whole_number(0), "0", 0),
        (whole_number(-3), "-3", -3),
        (whole_number(1024, 65531), "65531", 65531),
        (fraction, "0", 0.0),
        (fraction, "1", 1.0),
        (number(0, 100), "1e1", 10.0),
        (seconds, "0.5", 0.5),
        (url, "https://user:key@example.org/predictions/m", "https://user:key@example.org/predictions/m"),
        (url, "http://[::1]:8080/", "http://[::1]:8080/"),
        (one_of(["png", "json"]), "png", "png"),
        (some_of(["png", "json"]), "json, png,json", ("json", "png")),
    ],
)
def test_valid_text_is_parsed(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (positive_int, "0", "1 or more"),
        (positive_int, "1.5", "a whole number"),
        (positive_int, "1_0", "a whole number"),
        (positive_int, "٣", "a whole number"),
        (positive_int, "", "a whole number"),
        (whole_number(1024, 65531), "80", "from 1024 to 65531"),
        (fraction, "1.01", "a fraction from 0 to 1"),
        (fraction, "nan", "a fraction"),
        (fraction, "0_1", "a fraction"),
        (number(0, 100, "points of mIoU"), "many", "points of mIoU from 0 to 100"),
        (seconds, "0", "above 0"),
        (seconds, "inf", "above 0"),
        (url, "127.0.0.1:8080", "http://127.0.0.1:8080/predictions/deeplabv3"),
        (url, "http://", "http://127.0.0.1"),
        (url, "http://host:port/", "http://127.0.0.1"),
        (url, "http://[::1/", "http://127.0.0.1"),
        (one_of(["png", "json"]), "jsn", "did you mean 'json'? (known: png, json)"),
        (some_of(["png", "json"]), "png,jsn", "did you mean 'json'?"),
    ],
)
def test_invalid_text_is_refused_with_the_expected_form(parse: Callable[[str], object], text: str, expected: str) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        parse(text)

    assert expected in str(caught.value)
    assert repr(text.split(",")[-1]) in str(caught.value)


def test_files_and_folders_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.touch()

    assert existing_file(str(file)) == file
    assert existing_folder(str(tmp_path)) == tmp_path
    for parse, path in ((existing_file, tmp_path), (existing_folder, file), (existing_file, tmp_path / "b")):
        with pytest.raises(ArgumentTypeError, match=path.name):
            parse(str(path))


def test_the_docstring_describes_the_program_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser("python -m scripts.example", "Do it.\n\npython -m scripts.example 1\npython -m scripts.example 2\n")

    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--help"])

    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert printed.index("Do it.") < printed.index("--help") < printed.index("python -m scripts.example 1\npython")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dta", "folder"], "unknown option --dta, did you mean '--data'?"),
        (["--data=folder", "--jbs=2"], "unknown option --jbs, did you mean '--jobs'?"),
        (["--data", "folder", "--xyz"], "unknown option --xyz"),
        (["--jobs", "2"], "the following arguments are required: --data"),
        (["--data", "folder", "more"], "unrecognized arguments: more"),
    ],
)
def test_a_mistyped_option_is_reported_even_if_a_required_one_is_missing(arguments: list[str], message: str) -> None:
    parser = Parser("python -m scripts.example", "Do it.")
    parser.add_argument("--data", required=True)
    parser.add_argument("--jobs", type=positive_int)

    with pytest.raises(UsageError) as caught:
        parser.parse_args(arguments)

    assert str(caught.value) == f"{message}\npython -m scripts.example --help lists the options"


def test_an_invalid_value_is_a_usage_error_that_points_to_the_help() -> None:
    parser = Parser("python -m scripts.example", "Do it.")
    parser.add_argument("--jobs", type=positive_int)

    with pytest.raises(UsageError) as caught:
        parser.parse_args(["--jobs", "no"])

    assert str(caught.value) == (
        "argument --jobs: 'no' must be a whole number, 1 or more\npython -m scripts.example --help lists the options"
    )

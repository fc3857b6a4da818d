"""Errors quote only a short part of a client's input, however long it is."""

import json
from typing import Any

import pytest

from handler.answers import EncodedResponse
from handler.answers.response import compact_json
from handler.errors import InvalidOption, InvalidRequest, SegmentationError
from handler.labels import Labels
from handler.options import ModelIdentity
from handler.request.parser import RequestParser
from handler.request.protocols import read_envelope
from handler.settings import HandlerSettings
from handler.wording import quoted, shorten
from model.palette import voc_palette

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))
ENORMOUS = 5_000_000


def nested_list(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def parse_error(fields: dict[str, Any]) -> SegmentationError:
    with pytest.raises(SegmentationError) as error:
        RequestParser(HandlerSettings(), LABELS).parse(read_envelope(fields, ModelIdentity("m", "1")), {})
    return error.value


def test_short_values_are_quoted_in_full() -> None:
    assert (quoted("x"), quoted(0.5), quoted(True), quoted(None)) == ("'x'", "0.5", "true", "null")


def test_the_middle_of_a_long_message_is_left_out() -> None:
    message = shorten("begin" + "x" * 10_000 + "end")

    assert message.startswith("beginxxx")
    assert message.endswith("xxxend")
    assert "(8,508 characters left out)" in message


@pytest.mark.parametrize(
    "value",
    [
        "x" * ENORMOUS,
        "9" * ENORMOUS,
        "," * ENORMOUS,
        "[" * ENORMOUS,
        "[" + "1," * ENORMOUS + "1]",
        [1] * ENORMOUS,
        "1," * ENORMOUS,
        {"a" * ENORMOUS: 1},
        nested_list(900),
    ],
    ids=["text", "digits", "commas", "brackets", "JSON list", "list", "indices", "object", "nested"],
)
@pytest.mark.parametrize("option", ["format", "flip", "scales", "tiles", "classes", "alpha"])
def test_an_option_with_an_enormous_value_is_refused_in_a_short_message(option: str, value: Any) -> None:
    error = parse_error({"body": {"data": "aGk=", option: value}})

    assert isinstance(error, InvalidOption)
    assert len(str(error)) < 1_000
    assert str(error).startswith(f"option '{option}': ")


@pytest.mark.parametrize(
    "body",
    [
        {"data": "aGk=", "x" * ENORMOUS: 1},
        {str(index): 1 for index in range(100_000)},
        {"data": nested_list(900)},
        {"inputs": [{"name": "x" * ENORMOUS, "datatype": "x" * ENORMOUS}]},
        {"inputs": [{"name": "x", "datatype": nested_list(900)}]},
        {"inputs": [{"name": "x", "datatype": "BYTES", "shape": nested_list(900), "data": ["aGk="]}]},
    ],
    ids=["unknown option", "fields", "nested image", "name", "nested datatype", "nested shape"],
)
def test_a_long_or_deep_body_is_refused_in_a_short_message(body: dict[str, Any]) -> None:
    error = parse_error({"body": body})

    assert isinstance(error, InvalidRequest)
    assert len(str(error)) < 2_000


def test_more_digits_than_python_converts_are_an_unknown_class() -> None:
    error = parse_error({"data": b"image", "classes": b"1" * 5000})

    assert "there is no class '111111" in str(error)


def test_a_lone_surrogate_is_returned_unchanged() -> None:
    tensor = {"name": "\ud800", "shape": [1], "datatype": "BYTES", "data": ["aGk="]}
    envelope = read_envelope({"body": {"id": "\udfff", "inputs": [tensor]}}, ModelIdentity("m", "1"))

    answer = json.loads(envelope.reply([EncodedResponse(b"{}", "application/json")], explained=False).body)

    assert (answer["id"], answer["outputs"][0]["name"]) == ("\udfff", "\ud800")


def test_json_is_utf_8_without_escapes() -> None:
    assert compact_json({"a": "é"}) == '{"a":"é"}'.encode()

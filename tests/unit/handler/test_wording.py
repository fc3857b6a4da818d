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
from handler.wording import quoted, shortened
from model.palette import voc_palette

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))
MUCH = 5_000_000


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def refused(row: dict[str, Any]) -> SegmentationError:
    with pytest.raises(SegmentationError) as caught:
        RequestParser(HandlerSettings(), LABELS).parse(read_envelope(row, ModelIdentity("m", "1")), {})
    return caught.value


def test_what_is_short_is_quoted_as_it_is() -> None:
    assert (quoted("x"), quoted(0.5), quoted(True), quoted(None)) == ("'x'", "0.5", "true", "null")


def test_the_middle_of_a_long_message_is_left_out() -> None:
    message = shortened("begin" + "x" * 10_000 + "end")

    assert message.startswith("beginxxx")
    assert message.endswith("xxxend")
    assert "(8,508 characters left out)" in message


@pytest.mark.parametrize(
    "value",
    [
        "x" * MUCH,
        "9" * MUCH,
        "," * MUCH,
        "[" * MUCH,
        "[" + "1," * MUCH + "1]",
        [1] * MUCH,
        "1," * MUCH,
        {"a" * MUCH: 1},
        nested(900),
    ],
    ids=["text", "digits", "commas", "brackets", "JSON list", "list", "indices", "object", "nested"],
)
@pytest.mark.parametrize("option", ["format", "flip", "scales", "tiles", "classes", "alpha"])
def test_an_option_with_an_enormous_value_is_refused_in_a_short_message(option: str, value: Any) -> None:
    error = refused({"body": {"data": "aGk=", option: value}})

    assert isinstance(error, InvalidOption)
    assert len(str(error)) < 1_000
    assert str(error).startswith(f"option '{option}': ")


@pytest.mark.parametrize(
    "body",
    [
        {"data": "aGk=", "x" * MUCH: 1},
        {str(index): 1 for index in range(100_000)},
        {"data": nested(900)},
        {"inputs": [{"name": "x" * MUCH, "datatype": "x" * MUCH}]},
        {"inputs": [{"name": "x", "datatype": nested(900)}]},
        {"inputs": [{"name": "x", "datatype": "BYTES", "shape": nested(900), "data": ["aGk="]}]},
    ],
    ids=["unknown option", "fields", "nested image", "name", "nested datatype", "nested shape"],
)
def test_what_is_long_or_deep_is_refused_in_a_short_message(body: dict[str, Any]) -> None:
    error = refused({"body": body})

    assert isinstance(error, InvalidRequest)
    assert len(str(error)) < 2_000


def test_more_digits_than_python_converts_are_no_class() -> None:
    error = refused({"data": b"image", "classes": b"1" * 5000})

    assert "there is no class '111111" in str(error)


def test_half_a_surrogate_pair_is_answered_as_it_was_sent() -> None:
    tensor = {"name": "\ud800", "shape": [1], "datatype": "BYTES", "data": ["aGk="]}
    call = read_envelope({"body": {"id": "\udfff", "inputs": [tensor]}}, ModelIdentity("m", "1"))

    answer = json.loads(call.reply([EncodedResponse(b"{}", "application/json")], explained=False).body)

    assert (answer["id"], answer["outputs"][0]["name"]) == ("\udfff", "\ud800")


def test_json_is_utf_8_without_escapes() -> None:
    assert compact_json({"a": "é"}) == '{"a":"é"}'.encode()

"""The table of options is complete and follows the server's settings."""

import json
import math
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given

from handler.errors import InvalidOption
from handler.labels import Labels
from handler.option_types import Text
from handler.options import AnswerOptions, InferenceOptions
from handler.request.option_table import Option, default_answer, option_table
from handler.request.parser import RequestParser
from handler.settings import AnswerSettings, HandlerSettings
from model.palette import voc_palette
from model.strict import ConfigurationError
from tests.support import ROOT
from tests.unit.handler.test_option_types import ANY_JSON

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))
OPTIONS = option_table(HandlerSettings(), LABELS)
VALIDATORS = {name: jsonschema.Draft202012Validator(option.json_schema()) for name, option in OPTIONS.items()}


def table(**settings: object) -> Mapping[str, Option]:
    return option_table(HandlerSettings.parse(settings, source="model-config.yaml"), LABELS)


def error_message(option: Option, value: Any) -> str | None:
    try:
        option.parse(value)
    except InvalidOption as error:
        return str(error)
    return None


def test_options_are_exactly_the_fields_of_the_request_models() -> None:
    fields = [*InferenceOptions.model_fields, *AnswerOptions.model_fields]

    assert sorted(table()) == sorted(fields)
    assert len(set(fields)) == len(fields)


def test_settings_have_defaults_for_answer_options_except_format_and_image_name() -> None:
    assert set(AnswerSettings.model_fields) == set(AnswerOptions.model_fields) - {"format", "image_name"}


def test_without_settings_the_defaults_come_from_the_request_models() -> None:
    values = {**InferenceOptions().model_dump(), **AnswerOptions().model_dump()}

    assert {name: option.default for name, option in table().items()} == values
    assert default_answer(HandlerSettings(), LABELS) == AnswerOptions()


def test_defaults_come_from_the_settings() -> None:
    inference = {"scales": [0.5, 1], "flip": True, "tiles": 2, "refine": "crf", "bands": [4, 3, 2], "range": "auto"}
    answer = {
        "masks": "png",
        "classes": ["Dog", 1],
        "min_score": 0.25,
        "components": True,
        "alpha": 0.75,
        "tolerance": 2,
        "y_axis": "up",
        "uncertainty": "entropy",
    }
    fixed = {"format": "json", "image_name": "image"}

    defaults = {name: option.default for name, option in table(inference=inference, answer=answer).items()}

    assert defaults == {**inference, **answer, **fixed, "scales": (0.5, 1), "classes": (1, 2), "bands": (4, 3, 2)}


def test_the_shipped_configuration_equals_the_default_settings() -> None:
    shipped_settings = yaml.safe_load((ROOT / "handler" / "model-config.yaml").read_text())["handler"]

    assert HandlerSettings.parse(shipped_settings, source="model-config.yaml").answer == HandlerSettings().answer


def test_an_unknown_default_class_prevents_the_start() -> None:
    settings = HandlerSettings.parse({"answer": {"classes": ["horse"]}}, source="model-config.yaml")

    with pytest.raises(ConfigurationError, match=r"'answer\.classes': there is no class 'horse' \(known: background, cat, dog"):
        RequestParser(settings, LABELS)


@pytest.mark.parametrize(
    ("settings", "name", "allowed"),
    [
        ({}, "masks", "rle, png, polygons, none"),
        ({}, "flip", "true, false"),
        ({}, "alpha", "0 … 1"),
        ({"inference": {"max_tiles": 7}}, "tiles", "whole numbers, 1 … 7"),
        ({}, "bands", "one or three of 1 … 999, as 3,2,1; first"),
        ({}, "range", "two values, as 0,3000; type, auto"),
        ({"inference": {"max_scales": 3}}, "scales", "up to 3 of 0.25 … 2, as 0.75,1,1.25"),
    ],
)
@pytest.mark.parametrize("value", ["?", Text("?"), "0.5_0", True, [[]], {}, math.nan])
def test_an_error_names_option_value_and_this_servers_limits(
    settings: dict[str, object], name: str, allowed: str, value: Any
) -> None:
    if (name, value) == ("flip", True):
        return
    with pytest.raises(InvalidOption) as error:
        table(**settings)[name].parse(value)

    assert str(error.value).startswith(f"option {name!r}: ")
    assert str(error.value).endswith(f" (allowed: {allowed})")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("masks", "pgn", r"^option 'masks': 'pgn' does not exist, did you mean 'png'\? \(allowed: rle, png, polygons, none\)$"),
        ("masks", "p" * 300, r": 'p{80}'… \(300 characters\) does not exist"),
        ("masks", None, r": null does not exist"),
        ("flip", Text("yes"), r": 'yes' is neither true nor false"),
        ("alpha", 1.0000001, r": 1\.0000001 is above 1"),
        ("alpha", Text("-1"), r": -1\.0 is below 0"),
        ("alpha", 10**400, r": 10{79}… is not a number"),
        ("alpha", "+.5", r": '\+\.5' is not a plain decimal number"),
        ("tiles", 1.5, r": 1\.5 is not a whole number"),
        ("tiles", Text("5"), r": 5 is above 4"),
        ("scales", [1, 9], r": 9 is above 2"),
        ("scales", [[1]], r": a list is not a number"),
        ("scales", Text("[1"), r": '\[1' is not a JSON list"),
        ("scales", [], r": the list is empty"),
        ("image_name", 7, r": 7 is not text \(allowed: a file's name, up to 255 characters without control characters\)$"),
        ("image_name", "é" * 256, r": 'é{80}'… \(256 characters\) is too long"),
        ("image_name", Text("a\nb.jpg"), r": 'a\\nb.jpg' is not the name of a file"),
        ("bands", Text("0,1,2"), r": there is no band 0"),
        ("bands", [1, 2], r": '1,2' are two bands"),
        ("bands", [1, 2.5, 3], r": 2\.5 is not a whole number"),
        ("bands", Text("red"), r": 'red' is not a number"),
        ("range", Text("3000"), r": '3000' is one value"),
        ("range", [0, 1e39], r": 1e\+39 is beyond 1e\+38"),
        ("range", Text("min,max"), r": 'min' is not a number"),
    ],
)
def test_an_error_says_what_is_wrong(name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        table()[name].parse(value)


def test_an_extremely_long_value_is_refused() -> None:
    for name, option in table().items():
        with pytest.raises(InvalidOption, match=f"^option '{name}': .*1,000,000 characters.* 100,000$"):
            option.parse("1" * 1_000_000)


@pytest.mark.parametrize("names", [LABELS.names, ("all", "7", "träd"), tuple(map(str, range(300)))])
@pytest.mark.parametrize("answer", [{}, {"classes": [1]}])
def test_every_default_is_valid_for_its_option_and_schema(names: tuple[str, ...], answer: dict[str, object]) -> None:
    settings = HandlerSettings.parse({"answer": answer, "inference": {"scales": [0.5, 1]}}, source="model-config.yaml")
    options = option_table(settings, Labels(names, voc_palette(len(names))))

    for name, option in options.items():
        schema = json.loads(json.dumps(option.json_schema()))
        jsonschema.validate(schema["default"], schema)
        assert option.parse(schema["default"]) == option.default, name


@pytest.mark.slow
@pytest.mark.parametrize("name", [*InferenceOptions.model_fields, *AnswerOptions.model_fields])
@given(value=ANY_JSON)
def test_a_published_schema_accepts_exactly_what_the_parser_accepts(name: str, value: Any) -> None:
    message = error_message(OPTIONS[name], value)

    assert (message is None) == VALIDATORS[name].is_valid(value)
    assert len(message or "") < 1_500


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("masks", {"enum": ["rle", "png", "polygons", "none"], "type": "string", "default": "rle"}),
        ("flip", {"enum": [True, False, "true", "false"], "default": False}),
        ("min_score", {"type": ["number", "string"], "minimum": 0, "maximum": 1, "default": 0}),
        ("tiles", {"type": ["integer", "string"], "minimum": 1, "maximum": 4, "default": 1}),
    ],
)
def test_an_option_describes_itself_by_json_schema(name: str, expected: dict[str, Any]) -> None:
    schema = table()[name].json_schema()

    assert schema.pop("description")
    schema.pop("pattern", None)
    assert schema == expected

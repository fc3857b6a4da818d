"""The table of options is complete, and knows the server's settings."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from handler.errors import InvalidOption
from handler.labels import Labels
from handler.options import AnswerOptions, InferenceOptions
from handler.request.option_table import Option, default_answer, option_table
from handler.request.parser import RequestParser
from handler.settings import AnswerSettings, HandlerSettings
from model.palette import voc_palette
from model.strict import ConfigurationError
from tests.support import ROOT

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))


def table(**settings: object) -> Mapping[str, Option]:
    return option_table(HandlerSettings.parse(settings, source="model-config.yaml"), LABELS)


def test_every_field_of_a_requests_values_is_an_option_and_no_other() -> None:
    fields = [*InferenceOptions.model_fields, *AnswerOptions.model_fields]

    assert sorted(table()) == sorted(fields)
    assert len(set(fields)) == len(fields)


def test_every_option_of_an_answer_but_its_format_has_a_default_in_the_settings() -> None:
    assert set(AnswerSettings.model_fields) == set(AnswerOptions.model_fields) - {"format"}


def test_without_settings_the_defaults_are_those_of_the_values() -> None:
    values = {**InferenceOptions().model_dump(), **AnswerOptions().model_dump()}

    assert {name: option.default for name, option in table().items()} == values
    assert default_answer(HandlerSettings(), LABELS) == AnswerOptions()


def test_the_settings_defaults_are_the_options() -> None:
    inference = {"scales": [0.5, 1], "flip": True, "tiles": 2, "refine": "crf"}
    answer = {"masks": "png", "classes": ["Dog", 1], "min_score": 0.25, "components": True, "alpha": 0.75, "tolerance": 2}

    defaults = {name: option.default for name, option in table(inference=inference, answer=answer).items()}

    assert defaults == {**inference, **answer, "format": "json", "scales": (0.5, 1), "classes": (1, 2)}


def test_the_shipped_configuration_says_what_the_code_would_do_without_it() -> None:
    shipped = yaml.safe_load((ROOT / "handler" / "model-config.yaml").read_text())["handler"]

    assert HandlerSettings.parse(shipped, source="model-config.yaml").answer == HandlerSettings().answer


def test_a_class_that_the_model_does_not_have_stops_the_start() -> None:
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
        ({"inference": {"max_scales": 3}}, "scales", "up to 3 of 0.25 … 2, as 0.75,1,1.25"),
    ],
)
def test_an_error_names_option_value_and_this_servers_limits(settings: dict[str, object], name: str, allowed: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        table(**settings)[name].parse("?")

    assert str(caught.value).startswith(f"option {name!r}: '?' ")
    assert str(caught.value).endswith(f" (allowed: {allowed})")


def test_a_value_of_any_length_is_refused_at_once() -> None:
    for name, option in table().items():
        with pytest.raises(InvalidOption, match=f"^option '{name}': its value has 1,000,000 characters, the limit is 100,000$"):
            option.parse("1" * 1_000_000)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("masks", {"enum": ["rle", "png", "polygons", "none"], "default": "rle"}),
        ("flip", {"type": "boolean", "default": False}),
        ("min_score", {"type": "number", "minimum": 0, "maximum": 1, "default": 0}),
        ("tiles", {"type": "integer", "minimum": 1, "maximum": 4, "default": 1}),
    ],
)
def test_a_summary_is_json_schema(name: str, expected: dict[str, Any]) -> None:
    summary = table()[name].summary()

    assert summary.pop("description")
    assert summary == expected

import base64
import json
from typing import Any

import pytest

from handler.errors import InvalidImage, InvalidOption, InvalidRequest
from handler.options import ModelIdentity
from handler.request.bodies import Instance
from handler.request.protocols import Envelope, Plain, read_envelope

IMAGE = b"\x89PNG an image"
BASE64 = base64.b64encode(IMAGE).decode()


def make_envelope(body: dict[str, Any]) -> Envelope:
    return read_envelope({"body": body}, ModelIdentity("m", "1"))


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {}),
        ({"parameters": None}, {}),
        ({"parameters": {"threshold": 0.5}}, {"min_score": 0.5}),
        ({"parameters": {"threshold": None, "subtask": None}}, {}),
        ({"parameters": {"subtask": "semantic", "mask_threshold": 0.5, "overlap_mask_area_threshold": 0.1}}, {}),
        ({"parameters": {"format": "png", "min_score": 0.2}}, {"format": "png", "min_score": 0.2}),
        ({"options": {"wait_for_model": True, "use_cache": False}, "flip": True}, {"flip": True}),
        ({"options": {"flip": True, "alpha": 0}, "parameters": {"flip": False}}, {"flip": False, "alpha": 0}),
    ],
)
def test_text_in_inputs_is_the_image_and_parameters_are_options(fields: dict[str, Any], options: dict[str, Any]) -> None:
    assert make_envelope({"inputs": BASE64, **fields}).instances() == [Instance(IMAGE, options)]


def test_a_data_uri_and_json_bytes_are_accepted() -> None:
    body = json.dumps({"inputs": f"data:image/png;base64,{BASE64}"}).encode()

    assert read_envelope({"body": body}, ModelIdentity("m", "1")).instances() == [Instance(IMAGE, {})]


def test_errors_have_the_format_of_a_plain_request() -> None:
    envelope = make_envelope({"inputs": BASE64})

    assert isinstance(envelope, Plain)
    assert json.loads(envelope.refuse(InvalidImage("why"), "why").body) == {
        "error": "why",
        "code": 400,
        "type": "InvalidImage",
        "message": "why",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parameters": {"subtask": "panoptic"}}, r"option 'subtask': 'panoptic' is not .* \(allowed: semantic\)"),
        ({"parameters": {"subtask": ["semantic"]}}, r"option 'subtask': a list is not"),
        ({"parameters": {"threshold": 0.5, "min_score": 0.5}}, r"'threshold' and 'min_score' mean the same"),
        ({"parameters": [1]}, r"'parameters' is a list, it should be an object"),
        ({"parameters": "x"}, r"'parameters' is text, it should be an object"),
        ({"options": 5}, r"the field 'options' is a number"),
    ],
)
def test_unsupported_parameters_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        make_envelope({"inputs": BASE64, **fields}).instances()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("", r"'inputs' is empty"),
        ("https://example.org/cat.jpg", r"the image in 'inputs' is not base64"),
        (5, r"^'inputs' should be a list of at least one tensor$"),
    ],
)
def test_inputs_without_an_image_are_refused(inputs: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        make_envelope({"inputs": inputs}).instances()

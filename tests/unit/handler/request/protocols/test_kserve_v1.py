import base64
import json
from typing import Any

import pytest

from handler.answers import EncodedResponse
from handler.errors import InvalidOption, InvalidRequest, SegmentationError
from handler.options import ModelIdentity
from handler.request.bodies import Instance
from handler.request.protocols import Envelope, read_envelope

IMAGES = (b"\x89PNG one", b"\x89PNG two")
ONE, TWO = (base64.b64encode(image).decode() for image in IMAGES)


def make_envelope(body: dict[str, Any]) -> Envelope:
    return read_envelope({"body": body}, ModelIdentity("m", "1"))


@pytest.mark.parametrize(
    "instance",
    [
        ONE,
        f"data:image/png;base64,{ONE}",
        {"b64": ONE},
        {"data": ONE},
        {"image": ONE},
        {"image": {"b64": ONE}},
        {"image_bytes": {"b64": ONE}},
        {"image_bytes": {"b64": ONE}, "key": "1"},
    ],
)
def test_an_instance_may_have_any_of_the_usual_forms(instance: object) -> None:
    assert make_envelope({"instances": [instance]}).instances() == [Instance(IMAGES[0], {})]


def test_options_of_an_instance_override_those_of_the_call() -> None:
    envelope = make_envelope(
        {
            "instances": [{"data": ONE, "format": "png"}, {"data": TWO, "options": {"flip": True}}],
            "format": "npz",
            "options": {"alpha": 1},
        }
    )

    first, second = envelope.instances()

    assert first == Instance(IMAGES[0], {"alpha": 1, "format": "png"})
    assert second == Instance(IMAGES[1], {"alpha": 1, "format": "npz", "flip": True})


def test_json_bytes_are_accepted_whatever_their_content_type() -> None:
    envelope = read_envelope({"body": bytearray(json.dumps({"instances": [ONE, TWO]}), "utf-8")}, ModelIdentity("m", "1"))

    assert [instance.image for instance in envelope.instances()] == list(IMAGES)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": []}, r"^'instances' should be a list of at least one image$"),
        ({"instances": ONE}, r"^'instances' should be a list of at least one image$"),
        ({"instances": {"0": ONE}}, r"^'instances' should be a list of at least one image$"),
        ({"instances": [ONE, 5]}, r"^image 1: the image in 'instances' is sent as a number"),
        ({"instances": [ONE, "?"]}, r"^image 1: the image in 'instances' is not base64"),
        ({"instances": [ONE, {}]}, r"^image 1: no image in the request"),
        ({"instances": [ONE, {"picture": TWO}]}, r"^image 1: no image in the request; the fields sent are 'picture'"),
        ({"instances": [{"data": ONE, "image": TWO}]}, r"^image 0: more than one image"),
        ({"instances": [{"b64": 1}]}, r"^image 0: the image in 'instances' is sent as a number"),
    ],
)
def test_invalid_instances_are_refused_with_the_images_index(body: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        make_envelope(body).instances()


def test_options_that_are_not_an_object_are_refused() -> None:
    with pytest.raises(InvalidOption, match=r"^image 1: the field 'options' is a number"):
        make_envelope({"instances": [ONE, {"data": TWO, "options": 5}]}).instances()


def test_predictions_hold_json_unchanged_and_bytes_as_base64() -> None:
    answers = [EncodedResponse('{"label":"hjälm"}'.encode(), "application/json"), EncodedResponse(b"\xff\xd8", "image/jpeg")]

    reply = make_envelope({"instances": [ONE, TWO]}).reply(answers, explained=False)

    assert reply.content_type == "application/json"
    assert json.loads(reply.body) == {"predictions": [{"label": "hjälm"}, {"b64": "/9g=", "content_type": "image/jpeg"}]}


def test_explanations_have_their_own_key() -> None:
    reply = make_envelope({"instances": [ONE]}).reply([EncodedResponse(b"\x89PNG", "image/png")], explained=True)

    assert json.loads(reply.body) == {"explanations": [{"b64": "iVBORw==", "content_type": "image/png"}]}


def test_an_error_has_the_key_that_kserve_clients_read() -> None:
    error: SegmentationError = InvalidRequest("why")

    reply = make_envelope({"instances": [ONE]}).refuse(error, "why")

    assert json.loads(reply.body) == {"error": "why", "code": 400, "type": "InvalidRequest", "message": "why"}
    assert reply.error is error

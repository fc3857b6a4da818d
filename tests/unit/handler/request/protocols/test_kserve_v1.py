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


def opened(body: dict[str, Any]) -> Envelope:
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
def test_an_instance_is_an_image_in_any_of_the_usual_spellings(instance: object) -> None:
    assert opened({"instances": [instance]}).instances() == [Instance(IMAGES[0], {})]


def test_options_beside_the_instances_are_for_all_and_an_instances_own_go_before() -> None:
    call = opened(
        {
            "instances": [{"data": ONE, "format": "png"}, {"data": TWO, "options": {"flip": True}}],
            "format": "npz",
            "options": {"alpha": 1},
        }
    )

    first, second = call.instances()

    assert first == Instance(IMAGES[0], {"alpha": 1, "format": "png"})
    assert second == Instance(IMAGES[1], {"alpha": 1, "format": "npz", "flip": True})


def test_bytes_of_json_are_taken_whatever_type_they_are_sent_as() -> None:
    call = read_envelope({"body": bytearray(json.dumps({"instances": [ONE, TWO]}), "utf-8")}, ModelIdentity("m", "1"))

    assert [instance.image for instance in call.instances()] == list(IMAGES)


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
def test_what_is_no_list_of_images_is_refused_and_the_image_named(body: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        opened(body).instances()


def test_options_that_are_no_object_are_refused() -> None:
    with pytest.raises(InvalidOption, match=r"^image 1: the field 'options' is a number"):
        opened({"instances": [ONE, {"data": TWO, "options": 5}]}).instances()


def test_predictions_hold_json_as_it_is_and_bytes_as_base64() -> None:
    answers = [EncodedResponse('{"label":"hjälm"}'.encode(), "application/json"), EncodedResponse(b"\xff\xd8", "image/jpeg")]

    reply = opened({"instances": [ONE, TWO]}).reply(answers, explained=False)

    assert reply.content_type == "application/json"
    assert json.loads(reply.body) == {"predictions": [{"label": "hjälm"}, {"b64": "/9g=", "content_type": "image/jpeg"}]}


def test_explanations_are_called_so() -> None:
    reply = opened({"instances": [ONE]}).reply([EncodedResponse(b"\x89PNG", "image/png")], explained=True)

    assert json.loads(reply.body) == {"explanations": [{"b64": "iVBORw==", "content_type": "image/png"}]}


def test_an_error_stands_where_clients_of_kserve_look_for_it() -> None:
    error: SegmentationError = InvalidRequest("why")

    reply = opened({"instances": [ONE]}).refuse(error, "why")

    assert json.loads(reply.body) == {"error": "why", "code": 400, "type": "InvalidRequest", "message": "why"}
    assert reply.error is error

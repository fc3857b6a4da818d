import base64
import json
from typing import Any

import pytest

from handler.answers import EncodedResponse
from handler.errors import InvalidOption, InvalidRequest
from handler.options import ModelIdentity
from handler.request.bodies import Instance
from handler.request.protocols import Envelope, read_envelope

IMAGES = (b"\x89PNG one", b"\x89PNG two", b"\x89PNG three")
ONE, TWO, THREE = (base64.b64encode(image).decode() for image in IMAGES)


def tensor(*data: Any, **changes: Any) -> dict[str, Any]:
    return {"name": "photos", "shape": [len(data)], "datatype": "BYTES", "data": list(data), **changes}


def make_envelope(*inputs: Any, **fields: Any) -> Envelope:
    return read_envelope({"body": {"inputs": list(inputs), **fields}}, ModelIdentity("deeplabv3", "1.0"))


def test_each_element_of_each_tensor_is_an_image() -> None:
    envelope = make_envelope(tensor(ONE, f"data:image/png;base64,{TWO}"), tensor({"b64": THREE}, name="more"))

    assert [instance.image for instance in envelope.instances()] == list(IMAGES)


def test_parameters_of_a_tensor_override_those_of_the_call() -> None:
    envelope = make_envelope(
        tensor(ONE, parameters={"format": "png", "content_type": "image/jpeg"}),
        tensor(TWO, name="more"),
        parameters={"format": "npz", "alpha": 1, "binary_data_output": False},
    )

    assert envelope.instances() == [
        Instance(IMAGES[0], {"format": "png", "alpha": 1}),
        Instance(IMAGES[1], {"format": "npz", "alpha": 1}),
    ]


def test_each_tensor_is_answered_by_one_with_its_name_and_shape() -> None:
    envelope = make_envelope(tensor(ONE, TWO, shape=[2, 1]), tensor(THREE, name="more"), id="a-7")
    answers = [
        EncodedResponse(b'{"a":1}', "application/json"),
        EncodedResponse(b'{"a":2}', "application/json"),
        EncodedResponse(b"\xff\xd8", "image/jpeg"),
    ]

    assert json.loads(envelope.reply(answers, explained=False).body) == {
        "model_name": "deeplabv3",
        "model_version": "1.0",
        "id": "a-7",
        "outputs": [
            {
                "name": "photos",
                "shape": [2, 1],
                "datatype": "BYTES",
                "parameters": {"content_type": "application/json"},
                "data": ['{"a":1}', '{"a":2}'],
            },
            {
                "name": "more",
                "shape": [1],
                "datatype": "BYTES",
                "parameters": {"content_type": "image/jpeg"},
                "data": ["/9g="],
            },
        ],
    }


def test_a_lone_surrogate_in_the_id_is_returned_unchanged() -> None:
    reply = make_envelope(tensor(ONE), id="\ud83d").reply([EncodedResponse(b"{}", "application/json")], explained=False)

    assert json.loads(reply.body)["id"] == "\ud83d"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], r"^'inputs' should be a list of at least one tensor$"),
        ([5], r"^input 0 should be an object with 'name', 'shape', 'datatype' and 'data'$"),
        ([tensor(ONE), {"shape": [1]}], r"^input 1 should be an object with 'name'"),
        ([tensor(ONE, name=7)], r"^input 0 should be an object with 'name'"),
        ([tensor(ONE, datatype="FP32")], r"^input 'photos': datatype 'FP32' .* 'UINT8'$"),
        ([tensor(ONE, datatype=None)], r"^input 'photos': datatype null"),
        ([tensor()], r"^input 'photos': 'data' should be a list of at least one image as base64 text$"),
        ([tensor(ONE, data=ONE)], r"^input 'photos': 'data' should be a list"),
        ([tensor(ONE, shape=[2])], r"^input 'photos': shape \[2\] does not fit its 1 elements, it should be \[1\]$"),
        ([tensor(ONE, shape=None)], r"^input 'photos': shape null does not fit"),
        ([tensor(ONE, shape=[True])], r"^input 'photos': shape \[true\] .* \[1\]$"),
        ([tensor(ONE, shape=[1, True])], r"^input 'photos': shape \[1, true\]"),
        ([tensor(ONE, shape=[1.0])], r"^input 'photos': shape \[1\.0\]"),
        ([tensor(ONE, TWO, shape=[[2]])], r"^input 'photos': shape \[a list\] does not fit its 2 elements"),
        ([tensor(ONE), tensor(TWO, 5, name="more")], r"^image 2: the image in 'more' is sent as a number"),
        ([tensor(ONE, name="n" * 300, datatype="INT8")], r"^input 'n{80}'… \(300 characters\): datatype"),
        ([tensor(ONE, format="png")], r"^input 'photos': unknown key 'format'.*; options go into 'parameters'$"),
        ([tensor(ONE, Shape=[1])], r"^input 'photos': unknown key 'Shape', did you mean 'shape'\?"),
    ],
)
def test_a_malformed_tensor_is_refused_by_name(inputs: list[Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        make_envelope(*inputs).instances()


def test_an_option_outside_parameters_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"^the call: unknown key 'format' .*; options go into 'parameters'$"):
        make_envelope(tensor(ONE), format="png").instances()


def test_other_fields_of_the_protocol_are_accepted() -> None:
    envelope = make_envelope(
        tensor(ONE), id="1", model_name="deeplabv3", model_version="1.0", outputs=[{"name": "photos"}], parameters=None
    )

    assert envelope.instances() == [Instance(IMAGES[0], {})]


@pytest.mark.parametrize("parameters", [[], "format=png", 0])
def test_parameters_that_are_not_an_object_are_refused(parameters: object) -> None:
    with pytest.raises(InvalidOption, match=r"^'parameters' of the call is .*, it should be an object of options by name$"):
        make_envelope(tensor(ONE), parameters=parameters).instances()
    with pytest.raises(InvalidOption, match=r"^'parameters' of input 'photos' is "):
        make_envelope(tensor(ONE, parameters=parameters)).instances()


def test_an_error_has_the_fields_that_kserve_clients_read() -> None:
    reply = make_envelope(tensor(ONE), id="a-7").refuse(InvalidRequest("why"), "why")

    assert json.loads(reply.body) == {
        "error": "why",
        "code": 400,
        "type": "InvalidRequest",
        "message": "why",
        "id": "a-7",
        "model_name": "deeplabv3",
        "model_version": "1.0",
        "outputs": [],
    }


@pytest.mark.parametrize("identity", [None, 5, ["a"]])
def test_an_error_has_an_id_even_if_the_call_has_none(identity: Any) -> None:
    assert json.loads(make_envelope(tensor(ONE), id=identity).refuse(InvalidRequest("why"), "why").body)["id"] == ""


def test_parameters_of_the_protocol_are_not_options() -> None:
    options = {"format": "png"}
    call_parameters = {
        "priority": 1,
        "timeout": 5,
        "sequence_id": 7,
        "sequence_start": True,
        "sequence_end": False,
        "headers": {},
        "binary_data_output": False,
        "triton_enable_empty_final_response": True,
        **options,
    }
    input_parameters = {"binary_data": True, "binary_data_size": 9, "content_type": "image/jpeg", "flip": True}
    output = {"name": "photos", "parameters": {"classification": 3, "binary_data": False, "content_type": "str"}}

    envelope = make_envelope(tensor(ONE, parameters=input_parameters), parameters=call_parameters, outputs=[output])

    assert envelope.instances() == [Instance(IMAGES[0], {"flip": True, **options})]


def test_elements_may_be_nested_in_lists() -> None:
    envelope = make_envelope(tensor([ONE], [TWO], shape=[2, 1]))

    answer = json.loads(envelope.reply([EncodedResponse(b"{}", "application/json")] * 2, explained=False).body)

    assert [instance.image for instance in envelope.instances()] == list(IMAGES[:2])
    assert (answer["outputs"][0]["shape"], answer["outputs"][0]["data"]) == ([2, 1], ["{}", "{}"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"outputs": [{"name": "scores"}]}, "no output 'scores'.*'photos'"),
        ({"outputs": [{}]}, "no output null"),
        ({"outputs": True}, "'outputs' is true, it should be a list of tensors"),
        ({"id": 5}, "'id' is a number, it should be text"),
    ],
)
def test_an_id_or_output_that_cannot_be_returned_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        make_envelope(tensor(ONE), **fields).instances()

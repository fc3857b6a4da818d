import base64
import json
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.answers import EncodedResponse
from handler.errors import InstancesTooMany, InvalidRequest
from handler.limits import Limits
from handler.options import ModelIdentity
from handler.request.protocols import Envelope, Reply, read_envelope

LENGTH = "Inference-Header-Content-Length"
ONE, TWO, THREE = b"\x89PNG one", b"\xff\xd8 two", b"GIF89a three"
JSON, JPEG = EncodedResponse('{"a":"é"}'.encode(), "application/json"), EncodedResponse(b"\xff\xd8", "image/jpeg")


def section(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def tensor(size: Any, count: int = 1, name: str = "photos", **changes: Any) -> dict[str, Any]:
    return {"name": name, "shape": [count], "datatype": "BYTES", "parameters": {"binary_data_size": size}, **changes}


def make_envelope(inputs: Sequence[Any], sections: bytes, length: str | int | None = None, **fields: Any) -> Envelope:
    document = json.dumps({"inputs": inputs, **fields}).encode()
    headers = {LENGTH.lower(): str(len(document) if length is None else length)}
    return read_envelope({"body": bytearray(document + sections)}, ModelIdentity("m", "1"), headers, Limits(max_instances=3))


def images(envelope: Envelope) -> list[Any]:
    return [instance.image for instance in envelope.instances()]


def test_sections_hold_the_elements_of_the_tensors_in_order() -> None:
    first, second = section(ONE, TWO), section(THREE)
    inputs = [tensor(len(first), 2), tensor(len(second), name="more", shape=[1, 1])]

    assert images(make_envelope(inputs, first + second)) == [ONE, TWO, THREE]


def test_a_call_may_mix_binary_tensors_and_json() -> None:
    json_tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(TWO).decode()]}

    first, third = section(ONE), section(THREE)

    envelope = make_envelope([tensor(len(first)), json_tensor, tensor(len(third))], first + third)

    assert images(envelope) == [ONE, TWO, THREE]


def test_an_element_may_be_base64_text() -> None:
    text = base64.b64encode(ONE * 5)

    assert images(make_envelope([tensor(len(section(text)))], section(text))) == [ONE * 5]


def test_a_call_without_binary_tensors_may_have_the_length_header() -> None:
    json_tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(TWO).decode()]}

    assert images(make_envelope([json_tensor], b"")) == [TWO]


@given(st.lists(st.lists(st.binary(min_size=1, max_size=40).map(b"\xff\xd8".__add__), min_size=1, max_size=3), min_size=1))
def test_any_elements_are_read_back(tensors: list[list[bytes]]) -> None:
    elements = [element for group in tensors for element in group]
    sections = [section(*group) for group in tensors]
    inputs = [tensor(len(data), len(group)) for data, group in zip(sections, tensors, strict=True)]
    document = json.dumps({"inputs": inputs}).encode()

    envelope = read_envelope(
        {"body": document + b"".join(sections)},
        ModelIdentity("m", "1"),
        {LENGTH: str(len(document))},
        Limits(max_instances=len(elements)),
    )

    assert images(envelope) == elements


@pytest.mark.parametrize("length", ["", "x", "-1", "+5", "1.5", "0x10", "²", "9" * 5000, "1000000", "1_0"])
def test_an_invalid_length_header_is_refused(length: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^the header Inference-Header-Content-Length is '.*which has \d+ bytes in all$"):
        images(make_envelope([tensor(len(section(ONE)))], section(ONE), length))


@pytest.mark.parametrize("length", [0, 5, 100])
def test_a_length_other_than_the_jsons_is_refused(length: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"^the first {length} bytes of the body, by the header .* are not JSON: "):
        images(make_envelope([tensor(len(section(ONE)))], section(ONE), length))


def test_a_missing_length_header_is_named() -> None:
    body = json.dumps({"inputs": [tensor(len(section(ONE)))]}).encode() + section(ONE)

    with pytest.raises(InvalidRequest, match="binary tensors need the header Inference-Header-Content-Length"):
        images(read_envelope({"body": body}, ModelIdentity("m", "1")))


@pytest.mark.parametrize(
    ("inputs", "sections", "message"),
    [
        ([tensor(99)], section(ONE), r"^input 'photos': 'binary_data_size' is 99; .* at most the 12 left$"),
        ([tensor(-1)], section(ONE), r"'binary_data_size' is -1; it should be a number of bytes"),
        ([tensor(True)], section(ONE), r"'binary_data_size' is true; it should be"),
        ([tensor("12")], section(ONE), r"'binary_data_size' is '12'; it should be"),
        ([tensor(12)], section(ONE) + b"..", r"^the body ends with 2 bytes that no 'binary_data_size' of an input counts$"),
        ([tensor(12, 2)], section(ONE), r"the 12 bytes of 'binary_data_size' should be 2 elements, by 'shape'; they are 1$"),
        ([tensor(24)], section(ONE, ONE), r"the 24 bytes .* should be 1 elements, by 'shape'; 12 bytes follow them$"),
        ([tensor(11)], section(ONE)[:-1], r"element 0 should have 8 bytes, by the four before it, which is more than"),
        ([tensor(3)], b"\1\0\0", r"the 3 bytes .* should be 1 elements, by 'shape'; they are 0$"),
        ([tensor(4)], b"\xff\xff\xff\xff", r"element 0 should have 4,294,967,295 bytes"),
        ([tensor(4)], section(b""), r"^image 0: no image in the request: 'photos' is empty"),
        ([tensor(12, shape=[])], section(ONE), r"shape \[\] should be \[n\], for n images$"),
        ([tensor(12, shape=[True])], section(ONE), r"shape \[true\] should be \[n\]"),
        ([tensor(12, shape=[1, 2])], section(ONE), r"shape \[1, 2\] should be \[n\]"),
        ([tensor(12, shape=[1, 1.0])], section(ONE), r"shape \[1, 1\.0\] should be \[n\]"),
        ([tensor(12, shape=[0])], section(ONE), r"shape \[0\] should be \[n\]"),
        ([tensor(12, shape="x")], section(ONE), r"shape 'x' should be \[n\]"),
        ([tensor(12, datatype="FP32")], section(ONE), r"datatype 'FP32' is not supported, send files as 'BYTES' or pixels as"),
        ([tensor(12, data=["eA=="])], section(ONE), r"^input 'photos' has both 'data' and 'binary_data_size'"),
        ([tensor(None)], section(ONE), r"^input 'photos': 'data' should be a list of at least one image"),
        ([], b"", r"^'inputs' should be a list of at least one tensor$"),
    ],
)
def test_sections_that_contradict_the_tensors_are_refused(inputs: list[Any], sections: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        images(make_envelope(inputs, sections))


@pytest.mark.parametrize("document", [b"[]", b"5", b'{"instances": []}', b"{}"])
def test_binary_tensors_need_a_kserve_v2_call(document: bytes) -> None:
    envelope = read_envelope({"body": document + b"x"}, ModelIdentity("m", "1"), {LENGTH: str(len(document))})

    with pytest.raises(InvalidRequest, match=r"^the JSON before the binary tensors should be an object with 'inputs'$"):
        envelope.instances()


def test_more_elements_than_a_call_may_hold_are_refused_before_they_are_read() -> None:
    with pytest.raises(InstancesTooMany, match=r"^the call holds 9000000 images, the limit is 3$"):
        images(make_envelope([tensor(4, 9_000_000)], section(b"")))
    with pytest.raises(InstancesTooMany, match=r"^the call holds 4 images, the limit is 3$"):
        images(make_envelope([tensor(24, 2), tensor(24, 2)], section(ONE, ONE) * 2))


def read_reply(reply: Reply) -> tuple[Any, bytes]:
    """Return the JSON and the sections of a reply."""
    assert reply.content_type == "application/octet-stream"
    length = int(reply.headers[LENGTH])
    return json.loads(reply.body[:length]), reply.body[length:]


def test_an_answer_is_binary_on_request() -> None:
    envelope = make_envelope(
        [tensor(24, 2, shape=[2, 1]), tensor(12, name="more")],
        section(ONE, ONE, ONE),
        id="a-7",
        parameters={"binary_data_output": True},
    )

    document, sections = read_reply(envelope.reply([JSON, JSON, JPEG], explained=False))

    def output(name: str, shape: list[int], content_type: str, size: int) -> dict[str, Any]:
        parameters = {"content_type": content_type, "binary_data_size": size}
        return {"name": name, "shape": shape, "datatype": "BYTES", "parameters": parameters}

    outputs = [output("photos", [2, 1], "application/json", 28), output("more", [1], "image/jpeg", 6)]
    assert document == {"model_name": "m", "model_version": "1", "id": "a-7", "outputs": outputs}
    assert sections == section(JSON.body, JSON.body, JPEG.body)


@pytest.mark.parametrize("binary_by_default", [True, False])
def test_binary_data_of_an_output_overrides_that_of_the_call(binary_by_default: bool) -> None:
    envelope = make_envelope(
        [tensor(12), tensor(12, name="more")],
        section(ONE, ONE),
        parameters={"binary_data_output": binary_by_default},
        outputs=["photos", {"name": "more", "parameters": {"binary_data": not binary_by_default}}],
    )

    document, sections = read_reply(envelope.reply([JSON, JPEG], explained=False))

    kinds = ["data" if "data" in output else "binary" for output in document["outputs"]]
    assert kinds == (["binary", "data"] if binary_by_default else ["data", "binary"])
    assert sections == section(JSON.body if binary_by_default else JPEG.body)


def test_an_answer_is_json_by_default() -> None:
    reply = make_envelope([tensor(12)], section(ONE)).reply([JSON], explained=False)

    assert (reply.content_type, dict(reply.headers)) == ("application/json", {})
    assert json.loads(reply.body)["outputs"][0]["data"] == ['{"a":"é"}']


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"parameters": {"binary_data_output": "true"}},
            "'binary_data_output' of the call is text, it should be",
        ),
        ({"outputs": [{"name": "photos", "parameters": {"binary_data": 1}}]}, "'binary_data' of output 'photos' is a number"),
        ({"outputs": [{"name": "photos", "parameters": []}]}, "'parameters' of output 'photos' is a list"),
    ],
)
def test_binary_data_must_be_a_boolean(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        images(make_envelope([tensor(12)], section(ONE), **fields))

"""gRPC messages as HTTP calls, through the whole service."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.application import Application, Call
from handler.archive import ModelArchive
from handler.errors import InvalidRequest
from handler.options import ModelIdentity
from handler.servers.asgi.messages import HttpRequest
from handler.servers.asgi.open_inference.conversion import read_call
from handler.servers.asgi.open_inference.messages import DESCRIPTORS, message_class
from handler.settings import HandlerSettings
from tests.engines import ColourEngine, build_pipeline
from tests.support import encode, noise

PHOTO = noise(20, 30)
FILE = encode(PHOTO)
OUTPUTS = ["answer", "label_map", "probabilities", "confidence"]
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def service() -> Application:
    archive = ModelArchive(Path(), Path("model.safetensors"), ModelIdentity("m", "1"), HandlerSettings())
    return Application(archive, build_pipeline(ColourEngine()))


def request(*inputs: Any, **fields: Any) -> HttpRequest:
    message = message_class("inference.ModelInferRequest")(model_name="m", inputs=inputs, **fields)
    return HttpRequest("r-1", "predict", body=message.SerializeToString(), protocol="grpc")


def ask(service: Application, *inputs: Any, **fields: Any) -> Any:
    """Return the response, or the error of a refused call."""
    call, write = read_call(request(*inputs, **fields))
    (reply,) = service.answer([call])
    content = write(reply)
    return message_class("inference.ModelInferResponse").FromString(content) if reply.error is None else reply.error


def tensor(datatype: str = "UINT8", shape: Any = PHOTO.shape, **changes: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": datatype, "shape": list(shape), **changes}


def section(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


PIXELS = tensor(contents={"uint_contents": PHOTO.ravel().tolist()})
FILES = tensor("BYTES", [1], contents={"bytes_contents": [FILE]})
REQUESTED_OUTPUTS = [{"name": name} for name in OUTPUTS]


def test_every_encoding_of_an_image_gets_the_answer_of_http(service: Application) -> None:
    (plain,) = service.answer([Call({"body": FILE})])

    typed = [ask(service, image) for image in (PIXELS, FILES)]
    raw = [
        ask(service, tensor(), raw_input_contents=[PHOTO.tobytes()]),
        ask(service, tensor("BYTES", [1]), raw_input_contents=[section(FILE)]),
    ]

    for response in typed:
        assert response.outputs[0].contents.bytes_contents == [plain.body]
        assert response.raw_output_contents == []
    for response in raw:
        assert response.raw_output_contents == [section(plain.body)]
        assert not response.outputs[0].HasField("contents")
    output = raw[0].outputs[0]
    assert (output.name, output.datatype, output.shape) == ("image", "BYTES", [1])
    assert output.parameters["content_type"].string_param == "application/json"


def test_arrays_are_equal_typed_raw_and_over_http(service: Application) -> None:
    typed = ask(service, PIXELS, outputs=REQUESTED_OUTPUTS)
    raw = ask(service, tensor(), raw_input_contents=[PHOTO.tobytes()], outputs=REQUESTED_OUTPUTS)
    document = {"inputs": [tensor(data=PHOTO.ravel().tolist())], "outputs": OUTPUTS}
    (reply,) = service.answer([Call({"body": json.dumps(document).encode()})])
    over_http = {output["name"]: output for output in json.loads(reply.body)["outputs"]}

    assert [output.name for output in typed.outputs] == [output.name for output in raw.outputs] == OUTPUTS
    for output, raw_output, raw_bytes in zip(typed.outputs, raw.outputs, raw.raw_output_contents, strict=True):
        expected = over_http[output.name]
        assert (output.shape, output.datatype) == (expected["shape"], expected["datatype"])
        assert (raw_output.shape, raw_output.datatype) == (expected["shape"], expected["datatype"])
        if output.datatype == "UINT8":
            assert bytes(output.contents.uint_contents) == raw_bytes == bytes(expected["data"])
        elif output.datatype == "FP32":
            values = np.frombuffer(raw_bytes, "<f4")
            assert list(output.contents.fp32_contents) == values.tolist()
            assert np.array(expected["data"], np.float32).tolist() == values.tolist()
        else:
            assert raw_bytes == section(output.contents.bytes_contents[0])


_PARAMETERS = st.dictionaries(
    st.sampled_from(["alpha", "format", "flip", "priority", "binary_data", "binary_data_size"]),
    st.one_of(
        st.booleans().map(lambda value: {"bool_param": value}),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: {"int64_param": value}),
        st.integers(0, 2**64 - 1).map(lambda value: {"uint64_param": value}),
        st.floats(allow_nan=False).map(lambda value: {"double_param": value}),
        st.text(max_size=9).map(lambda value: {"string_param": value}),
        st.just({}),
    ),
)


@given(_PARAMETERS)
def test_parameters_are_passed_on_except_the_location_of_data(parameters: dict[str, dict[str, Any]]) -> None:
    expected = {name: next(iter(value.values()), None) for name, value in parameters.items() if not name.startswith("binary")}

    input_, output = {**FILES, "parameters": parameters}, {"name": "answer", "parameters": parameters}
    call, _ = read_call(request(input_, parameters=parameters, outputs=[output]))

    document = json.loads(call.fields["body"][: int(call.headers[LENGTH])])
    assert document["parameters"] == {**expected, "binary_data_output": True}
    assert document["inputs"][0]["parameters"] == {**expected, "binary_data_size": len(section(FILE))}
    assert document["outputs"] == [{"name": "answer", "parameters": expected}]


def test_parameters_are_options(service: Application) -> None:
    (plain,) = service.answer([Call({"data": FILE, "options": {"format": "index", "classes": ["cat", "dog"]}})])
    parameters = {"format": {"string_param": "index"}, "classes": {"string_param": "cat,dog"}, "priority": {"uint64_param": 2}}

    assert ask(service, FILES, parameters=parameters).outputs[0].contents.bytes_contents == [plain.body]


def test_the_ids_of_request_and_message_are_passed_on(service: Application) -> None:
    call, write = read_call(request(FILES, id="a-7"))
    assert call.request_id == "r-1"
    (reply,) = service.answer([call])
    assert message_class("inference.ModelInferResponse").FromString(write(reply)).id == "a-7"


@pytest.mark.parametrize(
    ("inputs", "fields", "message"),
    [
        ([tensor(), tensor()], {"raw_input_contents": [b"x"]}, "has 1 tensors, it should have one for each of 2 inputs"),
        ([tensor()], {"raw_input_contents": [b"x", b"y"]}, "'raw_input_contents' has 2 tensors"),
        ([], {"raw_input_contents": [b"x"]}, "'raw_input_contents' has 1 tensors"),
        ([PIXELS], {"raw_input_contents": [b"x"]}, "input 'image' has both 'contents' and 'raw_input_contents'"),
        ([], {}, "'inputs' should be a list of at least one tensor"),
        ([tensor()], {}, "needs 1,800 values, there are 0"),
        ([tensor()], {"raw_input_contents": [b"x"]}, "needs 1,800 values, there are 1"),
        ([tensor(shape=[2, 10, 30, 3])], {"raw_input_contents": [bytes(1800)]}, "shape [2, 10, 30, 3]"),
        ([tensor(shape=[-1, -1, 3])], {"raw_input_contents": [bytes(3)]}, "shape [-1, -1, 3]"),
        ([tensor(contents={"uint_contents": [256]})], {}, "'uint_contents' holds 256, values of 'UINT8' should be from"),
        ([tensor(contents={"int_contents": [1]})], {}, "of UINT8 should be in 'uint_contents', not in int_contents"),
        ([tensor("BYTES", [1], contents={"uint_contents": [1]})], {}, "should be in 'bytes_contents', not in uint_contents"),
        ([tensor("FP32", contents={"fp32_contents": [1.0]})], {}, "datatype 'FP32' is not supported"),
        ([tensor("BYTES", [1])], {"raw_input_contents": [b"\xff\xff\xff\xff"]}, "element 0 should have 4,294,967,295 bytes"),
        ([FILES], {"outputs": [{"name": "scores"}]}, "there is no output 'scores'"),
        ([FILES], {"parameters": {"formt": {"string_param": "png"}}}, "unknown option 'formt', did you mean 'format'"),
    ],
)  # fmt: skip
def test_a_malformed_call_gets_the_message_of_http(
    service: Application, inputs: list[Any], fields: dict[str, Any], message: str
) -> None:
    try:
        error = ask(service, *inputs, **fields)
    except InvalidRequest as raised:
        error = raised

    assert error.status == 400
    assert message in str(error)


def test_bytes_that_are_not_a_message_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="not a ModelInferRequest"):
        read_call(HttpRequest("", "predict", body=b"\x2a\xff", protocol="grpc"))


def test_the_descriptors_match_the_proto_files() -> None:
    pytest.importorskip("grpc_tools")
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from scripts.grpc_messages import compile_protos

    file_sets = [
        {file.name: file for file in FileDescriptorSet.FromString(content).file if not file.name.startswith("google/")}
        for content in (DESCRIPTORS.read_bytes(), compile_protos())
    ]
    assert file_sets[0] == file_sets[1]

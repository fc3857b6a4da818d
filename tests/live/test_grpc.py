"""gRPC: the input map holds the image and its options, the answer is its bytes or a complete error.

TorchServe's Open Inference Protocol is a second service on the same port.
"""

import json

import pytest

from scripts.grpc_stubs import open_inference_stubs
from scripts.server import Server
from tests.live.client import error_in, post
from tests.live.grpc_client import infer, predict


@pytest.mark.parametrize("field", ["data", "image", "body"])
def test_answers_over_grpc_equal_those_over_http(server: Server, thumbnail: bytes, field: str) -> None:
    assert predict(server, {field: thumbnail}) == post(server, thumbnail).content


def test_a_call_may_request_a_version(server: Server, thumbnail: bytes) -> None:
    assert predict(server, {"data": thumbnail, "format": b"png"}, "1.0")[:4] == b"\x89PNG"


def test_options_may_be_json(server: Server, thumbnail: bytes) -> None:
    answer = predict(server, {"data": thumbnail, "options": b'{"format": "npz"}'})

    assert answer == post(server, thumbnail, {"X-Segment-Format": "npz"}).content


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"data": b"not an image"}, (400, "InvalidImage")),
        ({}, (400, "InvalidRequest")),
        ({"picture": b"x"}, (400, "InvalidRequest")),
        ({"data": b"x", "formt": b"png"}, (400, "InvalidOption")),
    ],
)
def test_the_body_of_an_error_has_its_status_and_type(
    server: Server, inputs: dict[str, bytes], expected: tuple[int, str]
) -> None:
    assert error_in(predict(server, inputs)) == expected


def test_the_open_inference_protocol_accepts_files_and_returns_quoted_json(server: Server, thumbnail: bytes) -> None:
    answer = infer(server, thumbnail, thumbnail, id="call-7")

    assert (answer.id, answer.model_name, answer.model_version) == ("call-7", "deeplabv3", "1.0")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("photo", "BYTES", [2])
    # TorchServe writes each element as JSON writes text.
    assert [json.loads(element) for element in output.contents.bytes_contents] == [post(server, thumbnail).text] * 2


def test_invalid_open_inference_calls_kill_no_worker(server: Server, thumbnail: bytes) -> None:
    messages, _ = open_inference_stubs()
    pixels = messages.ModelInferRequest.InferInputTensor(name="pixels", datatype="FP16", shape=[1])
    before = server.workers()

    refused = [
        infer(server, b"broken", id="call-7"),
        infer(server, *[b"broken"] * 17),
        infer(server, raw_input_contents=[thumbnail]),  # TorchServe drops them.
        infer(server, inputs=[pixels]),
        infer(server, inputs=[]),
    ]

    assert [(answer.id, answer.model_name, len(answer.outputs)) for answer in refused] == [
        *[("call-7", "deeplabv3", 0)],
        *[("", "deeplabv3", 0)] * 4,
    ]
    assert [worker["pid"] for worker in server.workers()] == [worker["pid"] for worker in before]
    assert len(infer(server, thumbnail).outputs) == 1

"""gRPC: the input map holds the image and its options, the answer is its bytes or a complete error."""

import pytest

from scripts.server import Server
from tests.live.client import error_in, post
from tests.live.grpc_client import predict


@pytest.mark.parametrize("field", ["data", "image", "body"])
def test_an_image_by_grpc_gives_what_http_gives(server: Server, thumbnail: bytes, field: str) -> None:
    assert predict(server, {field: thumbnail}) == post(server, thumbnail).content


def test_a_version_can_be_named(server: Server, thumbnail: bytes) -> None:
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
def test_the_body_of_an_error_has_its_status(server: Server, inputs: dict[str, bytes], expected: tuple[int, str]) -> None:
    assert error_in(predict(server, inputs)) == expected

"""Calls that TorchServe's front end itself answers with a 5xx, before any handler runs."""

import json
from contextlib import closing
from http.client import HTTPConnection

import pytest

from scripts.server import Server
from tests.live.client import TIMEOUT_S

_URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
_FORM = {"Content-Type": "multipart/form-data; boundary=XX"}


def one_part_form(header: str) -> bytes:
    """Return a form with one part."""
    return f"--XX\r\n{header}\r\n\r\npng\r\n--XX--\r\n".encode()


def send_raw(server: Server, target: str, method: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """Send a request with exactly this target and return status and body."""
    connection = HTTPConnection("127.0.0.1", server.ports.inference, timeout=TIMEOUT_S)
    with closing(connection):
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param(_URLENCODED, b"\xff\xd8=\xff\xe0\r\x01", id="a photo as curl --data-binary sends it"),
        pytest.param(_URLENCODED, b"data=%zz", id="an escape that is not hexadecimal"),
        pytest.param(_URLENCODED, b"=png", id="an urlencoded field without a name"),
        pytest.param(_FORM, one_part_form("Content-Disposition: form-data"), id="a part without a name"),
        pytest.param(_FORM, one_part_form('Content-Disposition: form-data; name=""'), id="a part with an empty name"),
        pytest.param(_FORM, one_part_form("X: y"), id="a part without a disposition"),
        pytest.param(
            _FORM,
            one_part_form('Content-Disposition: form-data; name="format"\r\nContent-Type: text/plain; charset=x'),
            id="a charset that does not exist",
        ),
        pytest.param(
            _FORM,
            one_part_form('Content-Disposition: form-data; name="format"; filename="a"\r\nContent-Transfer-Encoding: x'),
            id="a transfer encoding that does not exist",
        ),
    ],
)
def test_the_front_end_answers_a_malformed_form_with_500(server: Server, headers: dict[str, str], body: bytes) -> None:
    status, answer = send_raw(server, "/predictions/deeplabv3", "POST", headers, body)

    assert (status, json.loads(answer)["type"]) == (500, "ErrorDataDecoderException")


def test_the_front_end_answers_a_target_without_a_path_with_500(server: Server) -> None:
    status, answer = send_raw(server, "*", "OPTIONS", {}, b"")

    assert (status, json.loads(answer)["type"]) == (500, "ArrayIndexOutOfBoundsException")


@pytest.mark.parametrize("target", ["/predictions/deeplabv3/1.0/%00", "/predictions/deeplabv3/1.0/%zz"])
def test_the_front_end_answers_an_undecodable_path_with_403(server: Server, target: str) -> None:
    status, _ = send_raw(server, target, "POST", {}, b"")

    assert status == 403

"""KServe's two protocols: several images in a call, answered in the same protocol."""

import base64
import json
from typing import Any

import pytest
import requests

from scripts.server import Server
from tests.live.client import TIMEOUT_S, error_in, post
from tests.live.routes import JSON_LENGTH_HEADER, kserve_v1_url, kserve_v2_url

JSON, PNG, OVERLAY = {"X-Segment-Masks": "none"}, {"X-Segment-Format": "png"}, {"X-Segment-Format": "overlay"}


@pytest.fixture(scope="module")
def photo(thumbnail: bytes) -> str:
    return text(thumbnail)


def test_v1_instances_may_have_different_options(server: Server, thumbnail: bytes, photo: str) -> None:
    instances = [photo, {"b64": photo}, {"image": f"data:image/png;base64,{photo}", "format": "png"}]

    response = v1(server, {"instances": instances, "options": {"masks": "none"}})

    assert response.headers["content-type"] == "application/json"
    alone = post(server, thumbnail, JSON).json()
    png = {"b64": text(post(server, thumbnail, PNG).content), "content_type": "image/png"}
    assert response.json() == {"predictions": [alone, alone, png]}


def test_v2_outputs_have_the_names_of_their_inputs(server: Server, thumbnail: bytes, photo: str) -> None:
    body = {
        "id": "call-7",
        "inputs": [tensor("a", photo, photo), tensor("b", photo, parameters={"format": "overlay"})],
        "parameters": {"masks": "none"},
    }

    response = v2(server, body)

    alone, overlay = post(server, thumbnail, JSON).text, text(post(server, thumbnail, OVERLAY).content)
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "model_name": "deeplabv3",
        "model_version": "1.0",
        "id": "call-7",
        "outputs": [
            tensor("a", alone, alone, parameters={"content_type": "application/json"}),
            tensor("b", overlay, parameters={"content_type": "image/jpeg"}),
        ],
    }


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2"])
def test_v2_health_and_server_metadata_are_available(server: Server, path: str) -> None:
    assert requests.get(server.url.split("/predictions")[0] + path, timeout=TIMEOUT_S).status_code == 200


@pytest.mark.parametrize(
    ("second", "expected", "word"),
    [
        ("YnJva2Vu", (400, "InvalidImage"), "6 bytes"),
        ("?", (400, "InvalidRequest"), "base64"),
        ({"b64": base64.b64encode(b"P6 1 1 255 xxx").decode()}, (415, "UnsupportedImageFormat"), "PPM"),
    ],
    ids=["broken", "not base64", "PPM"],
)
def test_one_bad_image_fails_the_call_with_its_status_and_index(
    server: Server, photo: str, second: Any, expected: tuple[int, str], word: str
) -> None:
    for response in (
        v1(server, {"instances": [photo, second, photo]}),
        v2(server, {"inputs": [tensor("a", photo), tensor("b", second)]}),
    ):
        assert error_in(response.content) == expected
        assert response.status_code == expected[0]
        assert response.json()["error"].startswith("image 1: ")
        assert word in response.json()["error"]


def test_v2_errors_have_every_key_of_an_answer(server: Server) -> None:
    answer = v2(server, {"id": "call-7", "inputs": [tensor("a", "YnJva2Vu")]}).json()

    keys = ("id", "model_name", "model_version", "outputs")
    assert {key: answer[key] for key in keys} == dict(zip(keys, ("call-7", "deeplabv3", "1.0", []), strict=True))


def test_a_bad_option_of_one_image_is_400_with_its_index(server: Server, photo: str) -> None:
    response = v1(server, {"instances": [photo, {"data": photo, "format": "svg"}]})

    assert error_in(response.content) == (400, "InvalidOption")
    assert response.json()["error"].startswith("image 1: option 'format': 'svg'")


def test_too_many_images_are_413_with_their_number_and_the_limit(server: Server, photo: str) -> None:
    responses = [v1(server, {"instances": [photo] * 17}), v2(server, {"inputs": [tensor("a", *[photo] * 17)]})]

    assert [error_in(response.content) for response in responses] == [(413, "InstancesTooMany")] * 2
    assert responses[0].json()["error"] == "the call holds 17 images, the limit is 16"


def test_images_of_one_call_share_the_inference_limit(server: Server, photo: str) -> None:
    big = {"scales": "1,1.25,1.5,2"}

    responses = [v1(server, {"instances": [photo] * count, "masks": "none", **big}) for count in (1, 16)]

    assert responses[0].status_code == 200
    assert error_in(responses[1].content) == (413, "InferenceTooLarge")
    assert "500,000" in responses[1].json()["error"]
    assert "16 images" in responses[1].json()["error"]


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        ([], "'inputs'"),
        ([{"name": "a", "shape": [1], "datatype": "UINT8", "data": [1]}], "'UINT8'"),
        ([{"name": "a", "shape": [3], "datatype": "BYTES", "data": ["eA=="]}], "[3]"),
        ([{"name": "a", "shape": [1], "datatype": "BYTES", "data": ["eA=="], "format": "png"}], "'format'"),
    ],
)
def test_a_malformed_tensor_is_400(server: Server, inputs: list[Any], word: str) -> None:
    response = v2(server, {"inputs": inputs})

    assert error_in(response.content) == (400, "InvalidRequest")
    assert word in response.json()["error"]


@pytest.mark.parametrize("instances", [[], "x", {}])
def test_malformed_instances_are_400(server: Server, instances: Any) -> None:
    assert error_in(v1(server, {"instances": instances}).content) == (400, "InvalidRequest")


def test_options_in_the_call_override_headers(server: Server, photo: str) -> None:
    response = requests.post(
        kserve_v1_url(server), json={"instances": [photo, {"data": photo, "format": "png"}]}, headers=OVERLAY, timeout=TIMEOUT_S
    )

    assert [prediction["content_type"] for prediction in response.json()["predictions"]] == ["image/jpeg", "image/png"]


def test_json_is_recognized_without_its_content_type(server: Server, photo: str) -> None:
    body = json.dumps({"instances": [photo]}).encode()

    response = requests.post(
        kserve_v1_url(server), body, headers={"Content-Type": "application/octet-stream"}, timeout=TIMEOUT_S
    )

    assert len(response.json()["predictions"]) == 1


@pytest.mark.parametrize("length", ["5", "x", "9999999", None])
def test_binary_tensors_with_a_wrong_or_missing_length_are_400(server: Server, thumbnail: bytes, length: str | None) -> None:
    parameters = {"binary_data_size": len(thumbnail) + 4}
    inputs = [{"name": "a", "shape": [1], "datatype": "BYTES", "parameters": parameters}]
    body = json.dumps({"inputs": inputs}).encode() + len(thumbnail).to_bytes(4, "little") + thumbnail
    headers = {"Content-Type": "application/octet-stream", **({JSON_LENGTH_HEADER: length} if length else {})}

    response = requests.post(kserve_v2_url(server), body, headers=headers, timeout=TIMEOUT_S)

    assert error_in(response.content) == (400, "InvalidRequest")
    assert JSON_LENGTH_HEADER in response.json()["error"]


def v1(server: Server, body: dict[str, Any]) -> requests.Response:
    return requests.post(kserve_v1_url(server), json=body, timeout=TIMEOUT_S)


def v2(server: Server, body: dict[str, Any]) -> requests.Response:
    return requests.post(kserve_v2_url(server), json=body, timeout=TIMEOUT_S)


def tensor(name: str, *data: Any, **changes: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": list(data), **changes}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()

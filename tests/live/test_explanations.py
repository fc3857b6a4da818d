"""Explanations of a class, on every route that has them."""

import base64
import io
import json

import pytest
import requests
from PIL import Image

from scripts.server import Server
from tests.live.client import TIMEOUT_S, error, error_in, post
from tests.live.routes import explanations_url, kserve_v1_url


@pytest.fixture(scope="module")
def dog_explanation(server: Server, thumbnail: bytes) -> bytes:
    """Explain a class that is absent from the photograph, strongly tinted."""
    return explain(server, thumbnail, {"X-Segment-Classes": "dog", "X-Segment-Alpha": "0.9"}).content


def test_an_explanation_is_a_png_of_the_photograph_that_names_the_class(server: Server, thumbnail: bytes) -> None:
    response = explain(server, thumbnail)

    picture = Image.open(io.BytesIO(response.content))
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert (picture.mode, picture.size) == ("RGB", (90, 60))
    assert picture.info["class"] == "cat"
    assert json.loads(picture.info["explanation"])["cells"] > 0


def test_options_have_the_same_effect_on_every_route(server: Server, thumbnail: bytes, dog_explanation: bytes) -> None:
    url, options, photo = explanations_url(server), {"classes": "dog", "alpha": "0.9"}, base64.b64encode(thumbnail).decode()

    by_form = requests.post(url, files={"data": thumbnail}, data=options, timeout=TIMEOUT_S)
    by_json = requests.post(url, json={"data": photo, "options": options}, timeout=TIMEOUT_S)
    by_url = explain(server, thumbnail, {"X-Segment-Classes": "dog", "X-Segment-Alpha": "0.9"}, path="/1.0/png")
    by_put = requests.put(url, files={"data": thumbnail}, data=options, timeout=TIMEOUT_S)
    (by_kserve,) = requests.post(
        kserve_v1_url(server, "explain"), json={"instances": [{"data": photo, **options}]}, timeout=TIMEOUT_S
    ).json()["explanations"]

    assert Image.open(io.BytesIO(dog_explanation)).info["class"] == "dog"
    assert [response.content == dog_explanation for response in (by_form, by_json, by_url, by_put)] == [True] * 4
    assert by_kserve == {"b64": base64.b64encode(dog_explanation).decode(), "content_type": "image/png"}


def test_accept_does_not_change_the_format(server: Server, thumbnail: bytes) -> None:
    assert explain(server, thumbnail, {"Accept": "image/jpeg"}).content == explain(server, thumbnail).content


@pytest.mark.parametrize(
    ("headers", "path", "message"),
    [
        ({"X-Segment-Format": "overlay"}, "", "option 'format': 'overlay'"),
        ({}, "/1.0/json", "option 'format': 'json'"),
        ({"X-Segment-Classes": "cat,dog"}, "", "option 'classes': 2 classes"),
        ({"X-Segment-Classes": "horsse"}, "", "'horsse'"),
        ({"X-Segment-Scales": "2"}, "", "option 'scales': "),
    ],
)
def test_options_without_meaning_for_explanations_are_400(
    server: Server, thumbnail: bytes, headers: dict[str, str], path: str, message: str
) -> None:
    response = explain(server, thumbnail, headers, path)

    assert error(response) == (400, "InvalidOption")
    assert message in response.json()["message"]


def test_a_broken_image_is_400(server: Server) -> None:
    assert error(explain(server, b"broken")) == (400, "InvalidImage")
    response = requests.post(kserve_v1_url(server, "explain"), json={"instances": ["eA=="]}, timeout=TIMEOUT_S)
    assert error_in(response.content) == (400, "InvalidImage")


@pytest.mark.parametrize("name", ["explain", "Explain", "EXPLAIN"])
def test_headers_cannot_turn_a_prediction_into_an_explanation_or_back(server: Server, thumbnail: bytes, name: str) -> None:
    assert explain(server, thumbnail, {name: "False"}).content == explain(server, thumbnail).content
    assert post(server, thumbnail, {name: "True"}).content == post(server, thumbnail).content


def explain(server: Server, image: bytes, headers: dict[str, str] | None = None, path: str = "") -> requests.Response:
    request_headers = {"Content-Type": "application/octet-stream", **(headers or {})}
    return requests.post(explanations_url(server) + path, data=image, headers=request_headers, timeout=TIMEOUT_S)

"""Errors for images that cannot be segmented; no input ends a worker."""

import json
from pathlib import Path

import pytest
import requests
from PIL import Image

from scripts.server import Server
from tests.live.client import TIMEOUT_S, error, mask, post
from tests.support import encode, noise
from tests.unit.handler.image.test_decode import bomb


def broken_inputs(photo: bytes) -> dict[str, bytes]:
    """Return bodies that are broken or oversized images."""
    return {
        "truncated JPEG": photo[: len(photo) // 2],
        "JPEG header alone": photo[:20],
        "text": b"this is not an image",
        "empty": b"",
        "zero bytes": bytes(10_000),
        "bomb": bomb(60_000, 60_000),
        "huge header": bomb(2**31 - 1, 2**31 - 1),
        "thread": encode(Image.new("1", (64_000_000, 1))),
        "zip": b"PK\x03\x04" + bytes(100),
        "truncated PNG": encode(noise(64, 64))[:500],
        "corrupt JPEG": photo[:200] + bytes(5000) + photo[5200:5300],
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("truncated JPEG", (400, "InvalidImage")),
        ("JPEG header alone", (400, "InvalidImage")),
        ("text", (400, "InvalidImage")),
        ("empty", (400, "InvalidRequest")),
        ("zero bytes", (400, "InvalidImage")),
        ("bomb", (413, "ImageTooLarge")),
        ("huge header", (413, "ImageTooLarge")),
        ("thread", (413, "ImageTooLarge")),
        ("zip", (415, "UnsupportedImageFormat")),
        ("truncated PNG", (400, "InvalidImage")),
        ("corrupt JPEG", (400, "InvalidImage")),
    ],
)
def test_broken_images_get_their_documented_errors(
    server: Server, photos: dict[str, Path], name: str, expected: tuple[int, str]
) -> None:
    assert error(post(server, broken_inputs(photos["chelsea"].read_bytes())[name])) == expected


def test_an_unsupported_image_format_is_415(server: Server) -> None:
    assert error(post(server, encode(Image.new("RGB", (16, 16)), "PPM"))) == (415, "UnsupportedImageFormat")


def test_an_oversized_body_is_413_with_its_size_and_the_limit(server: Server) -> None:
    response = post(server, bytes(32_000_001))

    assert error(response) == (413, "ImageTooLarge")
    message = response.json()["message"]
    assert "32,000,001" in message
    assert "32,000,000" in message


@pytest.mark.parametrize("headers", [{"X-Segment-Format": "svg"}, {"X-Segment-Colour": "red"}])
def test_a_bad_option_is_400(server: Server, photos: dict[str, Path], headers: dict[str, str]) -> None:
    response = post(server, photos["chelsea"].read_bytes(), headers)

    assert error(response) == (400, "InvalidOption")
    assert next(iter(headers)).lower().removeprefix("x-segment-") in response.json()["message"]


def test_an_unknown_form_field_is_400(server: Server, photos: dict[str, Path]) -> None:
    response = requests.post(
        server.url, files={"data": photos["chelsea"].read_bytes()}, data={"colour": "red"}, timeout=TIMEOUT_S
    )

    assert error(response) == (400, "InvalidOption")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_without_an_image_is_400(server: Server, content_type: str) -> None:
    body = json.dumps({"hello": "world"}).encode() if content_type == "application/json" else b"hello"

    response = post(server, body, {"Content-Type": content_type})

    assert error(response)[0] == 400


def test_fifty_broken_inputs_kill_no_worker(server: Server, photos: dict[str, Path]) -> None:
    photo = photos["chelsea"].read_bytes()
    narrow = [encode(Image.new("RGB", size)) for size in ((1, 1), (4000, 1), (1, 4000))]
    before = server.workers()

    statuses = [post(server, body).status_code for body in [*broken_inputs(photo).values(), *narrow] * 4]

    assert len(statuses) >= 50
    assert set(statuses) == {200, 400, 413, 415}
    assert [worker["pid"] for worker in server.workers()] == [worker["pid"] for worker in before]
    assert mask(post(server, photo, {"Accept": "image/png"})).shape == (300, 451)

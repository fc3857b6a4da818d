"""Requests that arrive together: TorchServe hands them to the handler as one batch."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from PIL import Image

from scripts.server import Server
from tests.live.client import TIMEOUT_S, error, post
from tests.support import encode


def test_each_answer_of_a_batch_is_the_answer_alone(server: Server, batching_server: Server, photos: dict[str, Path]) -> None:
    cat, person = photos["chelsea"].read_bytes(), photos["astronaut"].read_bytes()
    with Image.open(photos["chelsea"]) as photo:
        half = encode(photo.resize((200, 133)), "JPEG")
    asked: list[tuple[bytes, dict[str, str]]] = [
        (cat, {"X-Segment-Format": "png"}),
        (b"not an image", {}),
        (person, {"X-Segment-Format": "json"}),
        (cat[:2000], {"X-Segment-Format": "png"}),
        (half, {"X-Segment-Format": "overlay"}),
        (cat, {"X-Segment-Format": "svg"}),
        (b"", {}),
        (person, {"X-Segment-Format": "png"}),
    ]

    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda request: post(batching_server, *request), asked))
    alone = [post(server, *request) for request in asked]

    assert requests_per_batch(batching_server) > 1
    assert [response.status_code for response in together] == [200, 400, 200, 400, 200, 400, 400, 200]
    assert [response.content for response in together] == [response.content for response in alone]
    assert [response.headers["content-type"] for response in together] == [r.headers["content-type"] for r in alone]


def test_a_bad_request_of_a_batch_has_its_own_error(batching_server: Server, photos: dict[str, Path]) -> None:
    bodies = [photos["chelsea"].read_bytes(), b"broken"] * 3

    with ThreadPoolExecutor(len(bodies)) as pool:
        responses = list(pool.map(lambda body: post(batching_server, body), bodies))

    assert [response.status_code for response in responses] == [200, 400] * 3
    assert {error(response) for response in responses[1::2]} == {(400, "InvalidImage")}


def requests_per_batch(server: Server) -> float:
    """As the server's own metrics say."""
    text = requests.get(server.metrics_url, timeout=TIMEOUT_S).text
    count, total = (float(value) for value in re.findall(r"^BatchSize_(?:count|sum)\{.*\} ([\d.]+)$", text, re.MULTILINE))
    return total / count

"""Requests that arrive together: TorchServe gives them to the handler as one batch, the asgi server runs them in parallel."""

import base64
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from scripts.server import Server
from tests.live.client import TIMEOUT_S, error, post
from tests.live.routes import explanations_url, kserve_v1_url, kserve_v2_url
from tests.support import encode

Call = Callable[[Server], requests.Response]


def test_batched_answers_equal_those_of_single_requests(server: Server, busy_server: Server, photos: dict[str, Path]) -> None:
    cat, person = photos["chelsea"].read_bytes(), photos["astronaut"].read_bytes()
    with Image.open(photos["chelsea"]) as photo:
        half = encode(photo.resize((200, 133)), "JPEG")
    calls: list[tuple[bytes, dict[str, str]]] = [
        (cat, {"X-Segment-Format": "png"}),
        (b"not an image", {}),
        (person, {"X-Segment-Format": "json"}),
        (cat[:2000], {"X-Segment-Format": "png"}),
        (half, {"X-Segment-Format": "overlay"}),
        (cat, {"X-Segment-Format": "svg"}),
        (b"", {}),
        (person, {"X-Segment-Format": "png"}),
    ]

    together = send_together(busy_server, [partial(post, image=image, headers=headers) for image, headers in calls])
    alone = [post(server, *request) for request in calls]

    assert [response.status_code for response in together] == [200, 400, 200, 400, 200, 400, 400, 200]
    assert [response.content for response in together] == [response.content for response in alone]
    assert [response.headers["content-type"] for response in together] == [r.headers["content-type"] for r in alone]


def test_a_bad_request_fails_alone_in_its_batch(busy_server: Server, photos: dict[str, Path]) -> None:
    bodies = [photos["chelsea"].read_bytes(), b"broken"] * 3

    responses = send_together(busy_server, [partial(post, image=body) for body in bodies])

    assert [response.status_code for response in responses] == [200, 400] * 3
    assert {error(response) for response in responses[1::2]} == {(400, "InvalidImage")}


def test_batches_may_mix_actions_and_protocols(
    server: Server, busy_server: Server, photos: dict[str, Path], thumbnail: bytes
) -> None:
    astronaut, photo = photos["astronaut"].read_bytes(), base64.b64encode(thumbnail).decode()
    tensor = {"name": "a", "shape": [1], "datatype": "BYTES", "data": [photo], "parameters": {"format": "index"}}
    calls: list[Call] = [
        lambda to: requests.get(to.management_url, params={"customized": "true"}, timeout=TIMEOUT_S),
        lambda to: post_to(explanations_url(to), data=thumbnail),
        lambda to: post_to(kserve_v1_url(to), json={"instances": [photo, {"data": photo, "format": "png"}]}),
        lambda to: post_to(kserve_v1_url(to), json={"instances": [photo, "eA=="]}),
        lambda to: post_to(kserve_v2_url(to), json={"inputs": [tensor]}),
        lambda to: post(to, astronaut, {"X-Segment-Scales": "0.5,0.75", "Explain": "True", "describe": "True"}),
        lambda to: post(to, thumbnail, {"X-Segment-Masks": "polygons", "URL_PATH": "npz"}, "/1.0"),
        lambda to: post(to, b"broken", {"Accept": "image/png"}),
    ]

    together = send_together(busy_server, calls)
    alone = [call(server) for call in calls]

    assert [response.status_code for response in together] == [200, 200, 200, 400, 200, 200, 200, 400]
    assert read_description(together[0]) == read_description(alone[0]) | {"archive": read_description(together[0])["archive"]}
    assert [response.content for response in together[1:]] == [response.content for response in alone[1:]]
    assert [response.headers["content-type"] for response in together] == [r.headers["content-type"] for r in alone]


def send_together(server: Server, calls: Sequence[Call]) -> list[requests.Response]:
    """Send all calls together, check that TorchServe formed batches, and return the answers in order."""
    before = batches(server)
    with ThreadPoolExecutor(len(calls)) as pool:
        responses = list(pool.map(lambda call: call(server), calls))
    if server.software == "torchserve":  # The asgi server runs them in the engine's lanes instead.
        assert batches(server)[0] - before[0] < len(calls)
    return responses


def post_to(url: str, **body: Any) -> requests.Response:
    return requests.post(url, timeout=TIMEOUT_S, **body)


def read_description(response: requests.Response) -> dict[str, Any]:
    """Return a model's description; TorchServe omits null values."""
    description: dict[str, Any] = without_nulls(response.json()[0]["customizedMetadata"])
    return description


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def batches(server: Server) -> tuple[float, float]:
    """Return the numbers of batches and of requests in them, from the server's metrics."""
    text = requests.get(server.metrics_url, timeout=TIMEOUT_S).text
    values = re.findall(r"^deeplab_batch_size_(?:count|sum)\{.*\} ([\d.]+)$", text, re.MULTILINE)
    count, total = (float(value) for value in values) if values else (0.0, 0.0)
    return count, total

"""Calls to a live server, and checks of its answers."""

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import requests
from PIL import Image

from scripts.server import Server

#: Seconds after which a call or a program counts as hung: many times what it takes on a busy machine.
TIMEOUT_S = 300


def post(server: Server, image: bytes, headers: dict[str, str] | None = None, path: str = "") -> requests.Response:
    """POST raw bytes."""
    request_headers = {"Content-Type": "application/octet-stream", **(headers or {})}
    return requests.post(server.url + path, data=image, headers=request_headers, timeout=TIMEOUT_S)


def segments(response: requests.Response) -> dict[str, dict[str, Any]]:
    """Return the segments of a JSON answer by label."""
    assert response.status_code == 200, response.text
    return {segment["label"]: segment for segment in response.json()["segments"]}


def mask(response: requests.Response) -> npt.NDArray[np.uint8]:
    """Return the class indices of a palette PNG."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(response.content))
    assert picture.mode == "P"
    return np.asarray(picture)


def error(response: requests.Response) -> tuple[int, str]:
    """Check that an error is documented and reveals nothing about the server; return its status and type."""
    assert response.headers["content-type"] == "application/json"
    code, error_type = error_in(response.content)
    assert code == response.status_code
    return code, error_type


def error_in(body: bytes) -> tuple[int, str]:
    """Return status and type from the body of an error, in any of the protocols."""
    answer = json.loads(body)
    kserve_v2_keys = ("id", "model_name", "model_version", "outputs")
    assert set(answer) in ({"error", "code", "type", "message"}, {"error", "code", "type", "message", *kserve_v2_keys})
    assert answer["error"] == answer["message"]
    assert "Traceback" not in answer["message"]
    assert "/" not in answer["message"].replace("/predictions", "")
    return answer["code"], answer["type"]

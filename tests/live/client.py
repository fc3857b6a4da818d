"""What a test asks of a server."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import requests
from PIL import Image

from scripts.server import Server

TIMEOUT_S = 60


def post(server: Server, image: bytes, headers: dict[str, str] | None = None, path: str = "") -> requests.Response:
    """POST raw bytes."""
    sent = {"Content-Type": "application/octet-stream", **(headers or {})}
    return requests.post(server.url + path, data=image, headers=sent, timeout=TIMEOUT_S)


def segments(response: requests.Response) -> dict[str, dict[str, Any]]:
    """The segments of a JSON answer by label."""
    assert response.status_code == 200, response.text
    return {segment["label"]: segment for segment in response.json()["segments"]}


def mask(response: requests.Response) -> npt.NDArray[np.uint8]:
    """The class indices of a palette PNG."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(response.content))
    assert picture.mode == "P"
    return np.asarray(picture)


def error(response: requests.Response) -> tuple[int, str]:
    """Status and type of an error, which must be as documented and give nothing away."""
    answer = response.json()
    assert set(answer) == {"code", "type", "message"}
    assert answer["code"] == response.status_code
    assert "Traceback" not in answer["message"]
    assert "/" not in answer["message"].replace("/predictions", "")
    return answer["code"], answer["type"]

"""Pages of another origin are refused unless config.properties names that origin."""

from pathlib import Path

import pytest
import requests

from scripts.server import Server
from tests.live.client import TIMEOUT_S, error
from tests.live.cross_origin import ORIGIN, allowed_by, preflight
from tests.node import try_page


def test_a_page_of_an_allowed_origin_may_send_options_and_read_errors(batching_server: Server, thumbnail: bytes) -> None:
    preflight_response = preflight(batching_server.url, "content-type,x-segment-format")
    answer = requests.post(
        batching_server.url, thumbnail, headers={"Origin": ORIGIN, "X-Segment-Format": "png"}, timeout=TIMEOUT_S
    )
    refusal = requests.post(batching_server.url, b"broken", headers={"Origin": ORIGIN}, timeout=TIMEOUT_S)

    allowed = allowed_by(preflight_response)
    assert preflight_response.status_code == 200
    assert allowed["origin"] == ORIGIN
    assert "POST" in allowed["methods"]
    assert allowed["headers"] == "*" or "x-segment-format" in allowed["headers"].lower()
    assert answer.headers["content-type"] == "image/png"
    assert error(refusal) == (400, "InvalidImage")
    assert [response.headers["access-control-allow-origin"] for response in (answer, refusal)] == [ORIGIN] * 2


# In quick runs test_page.py tries the page with an API of another origin, on the server without Java.
@pytest.mark.exhaustive
def test_the_page_works_from_an_allowed_origin(batching_server: Server, photos: dict[str, Path]) -> None:
    api = batching_server.url.partition("predictions")[0]

    outcome = try_page(f"{ORIGIN}/", next(iter(photos.values())).parent, "elsewhere", API_URL=api)

    assert "1 passed" in outcome


def test_pages_of_other_origins_are_not_allowed_by_default(server: Server) -> None:
    response = requests.options(server.url, headers={"Origin": ORIGIN}, timeout=TIMEOUT_S)

    assert not [name for name in response.headers if name.lower().startswith("access-control")]

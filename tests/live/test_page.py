"""The page in a browser: Chromium on the real server, driven by `page/e2e`."""

from pathlib import Path

from scripts.server import Server
from tests.node import find_chromium, run_npm


def test_people_can_see_and_judge_masks(asgi_server: Server, photos: dict[str, Path]) -> None:
    address = asgi_server.url.partition("predictions")[0]
    folder = next(iter(photos.values())).parent

    outcome = run_npm("e2e", CHROMIUM=str(find_chromium()), PAGE_URL=address, PHOTOGRAPHS=str(folder))

    assert "passed" in outcome

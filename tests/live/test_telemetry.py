"""Metrics that both servers report under the same names, and what only the asgi server reports."""

import json
import time
from collections import Counter

import pytest
import requests

from scripts.server import Server
from tests.live.client import TIMEOUT_S, post
from tests.live.routes import explanations_url
from tests.unit.handler.servers.asgi.support import until

pytest.importorskip("prometheus_client", reason="the package prometheus-client is not installed")

Sample = tuple[str, frozenset[tuple[str, str]]]
STAGES = {"decode", "prepare", "network", "label", "encode"}


def metrics(server: Server) -> Counter[Sample]:
    """Return the values of this project's metrics, without the label of the machine that TorchServe adds."""
    from prometheus_client.parser import text_string_to_metric_families

    url = server.metrics_url if server.software == "torchserve" else server.url.partition("/predictions")[0] + "/metrics"
    text = requests.get(url, timeout=TIMEOUT_S).text
    families = [family for family in text_string_to_metric_families(text) if family.name.startswith("deeplab_")]
    return Counter(
        {
            (entry.name, frozenset((name, value) for name, value in entry.labels.items() if name != "Hostname")): entry.value
            for family in families
            for entry in family.samples
        }
    )


def sample(name: str, **labels: str) -> Sample:
    return f"deeplab_{name}", frozenset({"model": "deeplabv3", **labels}.items())


def test_both_servers_count_requests_in_the_same_metrics(server: Server, thumbnail: bytes) -> None:
    before = metrics(server)
    expected = {
        sample("answers_total", action="predict", format="png"): 2,
        sample("answers_total", action="explain", format="png"): 1,
        sample("images_total", action="predict"): 2,
        sample("images_total", action="explain"): 1,
        sample("errors_total", type="InvalidImage"): 1,
        **{sample("stage_duration_seconds_count", stage=stage): 2 for stage in STAGES - {"decode", "prepare", "encode"}},
        **{sample("stage_duration_seconds_count", stage=stage): 3 for stage in ("decode", "prepare", "encode")},
        sample("batch_size_count"): 4,
        sample("confidence_count"): 2,
        sample("review_count"): 2,
        sample("image_megapixels_count"): 2,
        sample("image_brightness_count"): 2,
    }

    for _ in range(2):
        post(server, thumbnail, {"X-Segment-Format": "png"})
    requests.post(explanations_url(server), thumbnail, timeout=TIMEOUT_S)
    post(server, b"broken")

    until(lambda: (metrics(server) - before).items() >= expected.items())  # TorchServe counts what it reads in a log.


def test_the_asgi_server_measures_whole_requests_and_logs_formats(asgi_server: Server, thumbnail: bytes) -> None:
    before, start = metrics(asgi_server), time.monotonic()

    response = post(asgi_server, thumbnail, {"X-Segment-Format": "overlay", "X-Request-ID": "overlay-1"})

    seconds = time.monotonic() - start
    growth = metrics(asgi_server) - before
    duration = {"action": "predict", "status": "2xx"}
    assert growth[sample("request_duration_seconds_count", **duration)] == 1
    assert 0 < growth[sample("request_duration_seconds_sum", **duration)] <= seconds
    log = asgi_server.run_directory / "logs" / "console.log"
    until(lambda: '"id":"overlay-1"' in log.read_text())
    line = json.loads(next(line for line in log.read_text().splitlines() if '"id":"overlay-1"' in line))
    assert response.headers["x-request-id"] == "overlay-1"
    assert (line["format"], line["status"]) == ("overlay", 200)
    assert {"read", "queue", *STAGES} < set(line["ms"])

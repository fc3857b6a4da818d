"""`/metrics`, read by Prometheus' own parsers, after requests to the real front process with a small worker."""

import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.handler.servers.asgi.support import TIMEOUT_S, FakeServer, fake_server, until

pytest.importorskip("prometheus_client", reason="the package prometheus-client is not installed")

Labels = dict[str, str]

#: Every metric, its type and its labels.
FAMILIES = {
    "deeplab_request_duration_seconds": ("histogram", {"model", "action", "status"}),
    "deeplab_stage_duration_seconds": ("histogram", {"model", "stage"}),
    "deeplab_queue_wait_seconds": ("histogram", {"model"}),
    "deeplab_batch_size": ("histogram", {"model"}),
    "deeplab_answers": ("counter", {"model", "action", "format"}),
    "deeplab_images": ("counter", {"model", "action"}),
    "deeplab_errors": ("counter", {"model", "type"}),
    "deeplab_rejections": ("counter", {"model", "reason"}),
    "deeplab_worker_restarts": ("counter", {"model"}),
    "deeplab_queue_length": ("gauge", {"model"}),
    "deeplab_running_requests": ("gauge", {"model"}),
    "deeplab_workers": ("gauge", {"model"}),
    "deeplab_workers_ready": ("gauge", {"model"}),
    "deeplab_confidence": ("histogram", {"model"}),
    "deeplab_review": ("histogram", {"model"}),
    "deeplab_image_megapixels": ("histogram", {"model"}),
    "deeplab_image_brightness": ("histogram", {"model"}),
    "deeplab_class_share": ("histogram", {"model", "class"}),
    "deeplab_drift_distance": ("gauge", {"model", "quantity"}),
    "deeplab_drift_images": ("gauge", {"model"}),
    "deeplab_drift_reference_images": ("gauge", {"model"}),
    "deeplab_engine_workers": ("gauge", {"model", "engine", "precision"}),
    "deeplab_engine_agreement": ("gauge", {"model", "engine", "precision"}),
    "deeplab_engine_agreement_required": ("gauge", {"model", "engine", "precision"}),
    "deeplab_resident_bytes": ("gauge", {"model", "process"}),
    "deeplab_connections": ("gauge", set[str]()),
    "deeplab_held_bytes": ("gauge", set[str]()),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    with fake_server(tmp_path_factory.mktemp("server"), "--header-timeout", "0.3") as running:
        until(running.is_ready)
        running.ask("echo")  # Gives each histogram values.
        running.ask("answer png 1")
        running.ask("refuse InvalidImage")
        yield running


def scrape(server: FakeServer, accept: str = "text/plain", query: str = "") -> str:
    return requests.get(f"{server.url}/metrics{query}", headers={"Accept": accept}, timeout=TIMEOUT_S).text


def parse(exposition: str) -> dict[str, Any]:
    from prometheus_client.parser import text_string_to_metric_families

    return {family.name: family for family in text_string_to_metric_families(exposition)}


def samples(server: FakeServer) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the value of each sample by its name and labels."""
    families = parse(scrape(server)).values()
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


class Growth:
    """The increase of samples since this object was made."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._before = samples(server)

    def __call__(self, name: str, **labels: str) -> float:
        key = (f"deeplab_{name}", frozenset(labels.items()))
        return samples(self._server).get(key, 0) - self._before.get(key, 0)


def test_every_family_has_its_type_its_labels_and_a_help_text(server: FakeServer) -> None:
    families = parse(scrape(server))

    assert {name: family.type for name, family in families.items()} == {name: kind for name, (kind, _) in FAMILIES.items()}
    labels = {name: set().union(*(sample.labels for sample in family.samples)) - {"le"} for name, family in families.items()}
    assert labels == {name: names for name, (_, names) in FAMILIES.items()}
    assert [name for name, family in families.items() if not family.documentation.endswith(".")] == []


def test_names_follow_prometheus_conventions(server: FakeServer) -> None:
    """These are the rules of `promtool check metrics`."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", scrape(server), re.M))

    assert [name for name, kind in kinds.items() if name.endswith("_total") != (kind == "counter")] == []
    assert [name for name in kinds if not re.fullmatch("[a-z][a-z_]*[a-z]", name)] == []
    assert [name for name in kinds if name.endswith(("_count", "_sum", "_bucket", "_info"))] == []
    other_units = "milliseconds|microseconds|nanoseconds|minutes|hours|kilobytes|megabytes|gigabytes|percent"
    reserved_words = rf"(^|_)({other_units}|ms|us|ns|sec|mb|kb|gauge|counter|histogram|summary)(_|$)"
    assert [name for name in kinds if re.search(reserved_words, name)] == []


def test_promtool_reports_nothing(server: FakeServer) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    result = subprocess.run([promtool, "check", "metrics"], input=scrape(server), capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_openmetrics_is_served_on_request(server: FakeServer) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    exposition = scrape(server, "application/openmetrics-text; version=1.0.0")

    assert {family.name for family in text_string_to_metric_families(exposition)} == set(FAMILIES)


def test_metrics_can_be_selected_by_name(server: FakeServer) -> None:
    exposition = scrape(server, query="?name[]=deeplab_workers&name[]=deeplab_errors_total")

    assert set(parse(exposition)) == {"deeplab_workers", "deeplab_errors"}


def test_buckets_ascend_and_those_of_batch_sizes_are_integers(server: FakeServer) -> None:
    for name, (kind, _) in FAMILIES.items():
        if kind == "histogram":
            bounds = re.findall(rf'{name}_bucket{{.*?le="([^"]+)"', scrape(server))
            first = [float(bound) for bound in bounds[: bounds.index("+Inf") + 1]]
            assert first == sorted(first)
            assert first[-1] == math.inf
    sizes = re.findall(r'deeplab_batch_size_bucket{le="([^"]+)"', scrape(server))
    assert [float(size) for size in sizes[:6]] == [1, 2, 3, 4, 6, 8]


@pytest.mark.parametrize("path", ["/predictions/fake", "/v1/models/fake:predict", "/v2/models/fake/infer"])
def test_an_answer_is_counted_by_its_format_with_its_images_and_stages(server: FakeServer, path: str) -> None:
    growth = Growth(server)

    requests.post(server.url + path, b"answer overlay 3", timeout=TIMEOUT_S)

    assert growth("answers_total", model="fake", action="predict", format="overlay") == 1
    assert growth("images_total", model="fake", action="predict") == 3
    assert growth("request_duration_seconds_count", model="fake", action="predict", status="2xx") == 1
    assert growth("request_duration_seconds_sum", model="fake", action="predict", status="2xx") > 0
    assert growth("queue_wait_seconds_count", model="fake") == 1
    assert growth("batch_size_sum", model="fake") == 1
    assert growth("stage_duration_seconds_sum", model="fake", stage="network") == pytest.approx(0.03)
    assert growth("stage_duration_seconds_count", model="fake", stage="read") == 1


def test_an_explanation_is_a_separate_action(server: FakeServer) -> None:
    growth = Growth(server)

    requests.post(f"{server.url}/explanations/fake", b"answer png 1", timeout=TIMEOUT_S)

    assert growth("answers_total", model="fake", action="explain", format="png") == 1


def test_a_workers_error_is_counted_by_its_type_and_not_as_a_rejection(server: FakeServer) -> None:
    growth = Growth(server)

    server.ask("refuse InvalidOption")

    assert growth("errors_total", model="fake", type="InvalidOption") == 1
    assert growth("request_duration_seconds_count", model="fake", action="predict", status="4xx") == 1
    assert [key for key in samples(server) if ("reason", "invalid_option") in key[1]] == []


def test_rejections_are_counted_by_reason(server: FakeServer) -> None:
    growth = Growth(server)

    server.ask(bytes(2_000_000))
    requests.get(f"{server.url}/nothing", timeout=TIMEOUT_S)
    with server.connect() as connection:
        connection.sendall(b"POST /predictions/fake HTTP/1.1\r\nHost")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")

    assert growth("rejections_total", model="fake", reason="body_too_large") == 1
    assert growth("errors_total", model="fake", type="BodyTooLarge") == 1
    assert growth("rejections_total", model="", reason="path_not_found") == 1
    assert growth("rejections_total", model="", reason="request_timeout") == 1


def test_a_client_that_hangs_up_is_counted_as_gone(server: FakeServer) -> None:
    growth = Growth(server)

    with server.connect() as connection:
        connection.sendall(b"POST /predictions/fake HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\necho")

    until(lambda: growth("rejections_total", model="fake", reason="client_gone") == 1)


def test_gauges_show_waiting_running_and_held_requests(server: FakeServer, tmp_path: Any) -> None:
    gate = tmp_path / "gate"
    body = f"wait {gate}".encode()
    request = b"POST /predictions/fake HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    clients = [server.connect() for _ in range(5)]
    for client in clients:
        client.sendall(request + body)
    until(lambda: server.queue_length() == 3)

    values = samples(server)

    gate.touch()
    for client in clients:
        client.recv(1000)
        client.close()
    model = frozenset({("model", "fake")})
    assert (values["deeplab_queue_length", model], values["deeplab_running_requests", model]) == (3, 2)
    assert values["deeplab_held_bytes", frozenset()] == 5 * len(body)
    assert values["deeplab_connections", frozenset()] >= 5
    until(lambda: samples(server)["deeplab_held_bytes", frozenset()] == 0)


def test_a_replaced_worker_is_counted(server: FakeServer) -> None:
    growth = Growth(server)
    assert growth("worker_restarts_total", model="fake") == 0

    server.ask("unhealthy the logits are not finite")

    until(server.is_ready)
    until(lambda: growth("worker_restarts_total", model="fake") == 1)
    assert samples(server)["deeplab_workers_ready", frozenset({("model", "fake")})] == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["GET", "POST", "BREW", "PROPFIND"]),
    st.sampled_from(["/", "/predictions/", "/v1/models/", "/v2/models/fake/versions/", "/predictions/fake/1.0/", "/models/"]),
    st.text(st.characters(codec="ascii", exclude_characters="?#\r\n"), max_size=12).map(lambda scrape: f"zebra{scrape}"),
)
def test_no_text_of_a_client_becomes_a_label(server: FakeServer, method: str, path: str, name: str) -> None:
    headers = {"X-Segment-Format": "zebra", "Accept": "zebra/png", "X-Request-ID": "zebra", "Host": "zebra"}

    requests.request(method, server.url + path + name, params={"format": "zebra"}, headers=headers, timeout=TIMEOUT_S)

    assert "zebra" not in scrape(server)

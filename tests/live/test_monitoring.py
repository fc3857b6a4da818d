"""Rules, alerts and dashboard against a real Prometheus scraping a real server; tests skip if a program is missing."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from scripts.server import READY_TIMEOUT_S, Ports
from tests.live.client import TIMEOUT_S
from tests.support import ROOT, encode, noise
from tests.unit.handler.servers.asgi.support import until

pytest.importorskip("prometheus_client", reason="the package prometheus-client is not installed")

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "deeplab.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
#: The `$__rate_interval` that Grafana would use for two scrapes a second, or longer.
_RATE_INTERVAL = "10s"


def find_program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@contextmanager
def running(command: list[str], folder: Path, log: str) -> Iterator[Path]:
    """Run a program for the block; yield the file with its output."""
    file = folder / log
    with file.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        yield file
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


@pytest.fixture(scope="module")
def server_address(tmp_path_factory: pytest.TempPathFactory, small_archive: Path) -> Iterator[str]:
    """Serve one small model under two names, one the shadow of the other; return its address."""
    folder = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "handler.servers.asgi", "--port", "0", "--shadow", "pets=next:1"]
    command += ["--model", f"pets={small_archive}", "--model", f"next={small_archive}", "--cache", str(folder / "cache")]
    with running(command, folder, "log") as log:
        until(lambda: log.read_text().count('"worker ready"') == 2, READY_TIMEOUT_S)
        (address,) = re.findall(r'"address":"([^"]+)"', log.read_text())
        yield address


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, server_address: str) -> Iterator[str]:
    """Let Prometheus scrape the server twice a second, with the rules of this repository; return its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = yaml.safe_load((RULES / "prometheus.yml").read_text())
    del configuration["alerting"]
    configuration["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    configuration["rule_files"] = [str(RULES / name) for name in configuration["rule_files"]]
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [server_address.partition("//")[2]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{Ports.free().inference}"
    command = [find_program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with running([*command, f"--web.listen-address={address}"], folder, "log"):
        yield f"http://{address}"


def query(prometheus: str, expression: str) -> list[Any]:
    """Return the series to which an expression evaluates now."""
    response = requests.get(f"{prometheus}/api/v1/query", {"query": expression}, timeout=TIMEOUT_S)
    answer = response.json()
    assert answer["status"] == "success", (expression, answer)
    series: list[Any] = answer["data"]["result"]
    return series


def expressions() -> list[str]:
    """Return every expression of the dashboard as Grafana would send it."""
    templates = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return [template.replace("$__rate_interval", _RATE_INTERVAL).replace("$model", ".+") for template in templates]


def is_scraped(prometheus: str) -> bool:
    try:
        is_ready = requests.get(f"{prometheus}/-/ready", timeout=TIMEOUT_S).ok
    except requests.ConnectionError:
        return False
    return is_ready and bool(query(prometheus, "up == 1"))


def test_every_panel_of_the_dashboard_has_data(prometheus: str, server_address: str) -> None:
    until(lambda: is_scraped(prometheus))
    photo, without_data = encode(noise(30, 40)), expressions()

    def all_have_data() -> bool:
        for body in (photo, b"broken"):
            requests.post(f"{server_address}/predictions/pets", body, timeout=TIMEOUT_S)
        without_data[:] = [expression for expression in without_data if not query(prometheus, expression)]
        return not without_data

    try:
        until(all_have_data)
    except AssertionError:
        pytest.fail(f"no series for {without_data}")


def test_alerts_can_be_evaluated_and_a_healthy_server_fires_none(prometheus: str) -> None:
    until(lambda: is_scraped(prometheus))
    groups = requests.get(f"{prometheus}/api/v1/rules", timeout=TIMEOUT_S).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert {rule["name"] for rule in rules if rule["type"] == "alerting"} == {alert["alert"] for alert in alerts()}
    assert [rule["name"] for rule in rules if rule.get("lastError")] == []
    assert query(prometheus, 'ALERTS{alertstate="firing"}') == []


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_promtool_accepts_the_rules_and_their_tests() -> None:
    promtool = find_program("promtool")
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "tests/alerts.yml"]):
        result = subprocess.run([promtool, *command], cwd=RULES, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


# It takes seconds of processor time and only checks that another test can fail.
@pytest.mark.exhaustive
def test_promtool_detects_an_alert_that_does_not_fire(tmp_path: Path) -> None:
    promtool = find_program("promtool")
    shutil.copytree(RULES, tmp_path, dirs_exist_ok=True)
    rules = tmp_path / "alerts.yml"
    rules.write_text(rules.read_text().replace("deeplab_resident_bytes > 1.5e9", "deeplab_resident_bytes > 9e9"))

    result = subprocess.run(
        [promtool, "test", "rules", "tests/alerts.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert result.returncode == 1
    assert "DeeplabMemoryHigh" in result.stderr + result.stdout


def test_amtool_accepts_the_alertmanager_example() -> None:
    result = subprocess.run(
        [find_program("amtool"), "check-config", RULES / "alertmanager.yml"], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr


def test_every_alert_has_a_test_a_severity_and_a_runbook_section() -> None:
    tests = yaml.safe_load((RULES / "tests" / "alerts.yml").read_text())["tests"]
    fired = set(re.findall(r'alertname="(\w+)"', json.dumps(tests).replace("\\", "")))
    sections = {line.removeprefix("## ").lower() for line in (ROOT / "docs" / "alerts.md").read_text().splitlines()}

    names = Counter(alert["alert"] for alert in alerts())
    assert set(names) == fired
    assert max(names.values()) == 1
    for alert in alerts():
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"]
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert (page, anchor) == ("docs/alerts.md", alert["alert"].lower())
        assert anchor in sections


def test_the_dashboards_layout_is_valid() -> None:
    """Grafana itself is not available: ids, grid and references are checked, not its appearance."""
    ids = Counter(panel["id"] for panel in DASHBOARD["panels"])
    assert max(ids.values()) == 1
    cells: Counter[tuple[int, int]] = Counter()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        columns, rows = range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])
        cells.update((column, row) for column in columns for row in rows)
    assert max(cells.values()) == 1
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS))) - {"__rate_interval"} <= variables
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert max(Counter(target["refId"] for target in panel["targets"]).values()) == 1

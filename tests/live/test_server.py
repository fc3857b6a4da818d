"""The server around the model: ports, metrics, start and stop."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from scripts.client import Client
from scripts.java import find_java_home
from scripts.server import CONFIG, LOGGING, Ports, Server, ServerError, Software, serving, start
from scripts.server.properties import with_ports
from scripts.server_access import ServerAccess
from tests.archives import copy_with_settings
from tests.certificates import make_certificate
from tests.live.client import TIMEOUT_S, post, segments
from tests.support import ROOT


def test_the_worker_is_ready(server: Server) -> None:
    assert [worker["status"] for worker in server.workers()] == ["READY"]
    assert requests.get(server.url.split("/predictions")[0] + "/ping", timeout=TIMEOUT_S).json() == {"status": "Healthy"}


def test_models_cannot_be_registered_while_running(server: Server) -> None:
    models = server.management_url.rsplit("/", 1)[0]

    answers = [
        requests.post(models, params={"url": "deeplabv3.mar", "model_name": "other"}, timeout=TIMEOUT_S),
        requests.post(models, params={"url": "https://127.0.0.1/evil.mar"}, timeout=TIMEOUT_S),
        requests.delete(server.management_url, timeout=TIMEOUT_S),
    ]

    assert [answer.status_code for answer in answers] == [405, 405, 405]


def test_all_ports_listen_only_on_loopback(server: Server) -> None:
    process = server.process()
    assert process is not None
    ports = set(vars(server.ports).values())

    listening = {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN and c.laddr.port in ports}

    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_metrics_count_answers_and_time_stages(server: Server, photos: dict[str, Path]) -> None:
    segments(post(server, photos["chelsea"].read_bytes()))
    post(server, b"broken")

    text = requests.get(server.metrics_url, timeout=TIMEOUT_S).text

    assert 'deeplab_answers_total{model="deeplabv3",action="predict",format="json",' in text
    assert 'deeplab_images_total{model="deeplabv3",action="predict",' in text
    assert 'deeplab_errors_total{model="deeplabv3",type="InvalidImage",' in text
    for stage in ("decode", "prepare", "network", "label", "encode"):
        assert f'deeplab_stage_duration_seconds_count{{model="deeplabv3",stage="{stage}"' in text


def test_plain_torchserve_serves_the_archive(tmp_path: Path, default_archive: Path, photos: dict[str, Path]) -> None:
    """Start TorchServe like an operator who does not have this project's scripts."""
    store, temporary = default_archive.parent, tmp_path / "tmp"
    temporary.mkdir()
    ports = Ports.free()
    config = tmp_path / "config.properties"
    config.write_text(with_ports(CONFIG.read_text(), ports))
    torchserve = Path(sys.executable).parent / "torchserve"
    environment = {
        **os.environ,
        "JAVA_HOME": str(find_java_home()),
        "TMPDIR": str(temporary),
        "LOG_LOCATION": str(tmp_path / "logs"),
        "METRICS_LOCATION": str(tmp_path / "logs"),
    }
    command: list[str | Path] = [torchserve, "--start", "--ncs", "--model-store", store, "--models", "deeplabv3=deeplabv3.mar"]
    command += ["--ts-config", config, "--log-config", LOGGING]

    subprocess.run(command, check=True, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    pid = int((temporary / ".model_server.pid").read_text())
    server = Server(pid, psutil.Process(pid).create_time(), ports, "deeplabv3", tmp_path, temporary)
    try:
        server.wait_until_ready()
        assert "cat" in segments(post(server, photos["chelsea"].read_bytes()))
        subprocess.run([torchserve, "--stop"], check=True, env=environment, stdout=subprocess.DEVNULL)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=30)
        assert server.process() is None
    finally:
        server.stop()


def test_a_worker_that_cannot_start_is_reported_with_the_reason(tmp_path: Path, default_archive: Path) -> None:
    broken = copy_with_settings(default_archive, tmp_path, lambda settings: settings["handler"].update(engine="t0rch"))

    with pytest.raises(ServerError, match=r"deeplabv3[\s\S]*t0rch"), serving(broken, Ports.free(), tmp_path / "run"):
        pass

    assert Server.find(tmp_path / "run") is None


def test_an_archive_that_cannot_be_read_is_reported_with_the_reason(tmp_path: Path, default_archive: Path) -> None:
    archive = tmp_path / "deeplabv3.mar"
    archive.write_bytes(default_archive.read_bytes().replace(b"batchSize", b"batchSite"))

    with pytest.raises(ServerError, match="invalid entry CRC"), serving(archive, Ports.free(), tmp_path / "run"):
        pass


def test_a_second_server_in_the_same_run_directory_is_refused(server: Server, tmp_path: Path) -> None:
    archive = tmp_path / "a.mar"
    archive.touch()

    with pytest.raises(ServerError, match=re.escape(server.url)):
        start(archive, Ports.free(), server.run_directory)


# README's demo is such a TorchServe server, and the page's tests need such a server without Java.
@pytest.mark.exhaustive
@pytest.mark.parametrize("software", ["torchserve", "asgi"])
def test_one_server_serves_two_archives(
    software: Software, tmp_path: Path, default_archive: Path, small_archive: Path, photos: dict[str, Path]
) -> None:
    first, second = (Path(shutil.copy(archive, tmp_path)) for archive in (default_archive, small_archive))
    image, headers = photos["chelsea"].read_bytes(), {"Content-Type": "image/png", "X-Segment-Masks": "none"}

    with serving(first, Ports.free(), tmp_path / "run", software=software, other_archives=[second]) as server:
        answers = [requests.post(server.url_of(model), image, headers=headers, timeout=TIMEOUT_S) for model in server.models]

        assert [answer.json()["model"] for answer in answers] == ["deeplabv3", "pets"]
        assert [worker["status"] for worker in server.workers()] == ["READY", "READY"]
        assert server.why_not_ready() is None


# nginx's tests cover TLS before TorchServe, and tests/unit/scripts/test_server_access.py keys.
@pytest.mark.exhaustive
def test_programs_can_use_torchserve_with_keys_and_tls(
    tmp_path: Path, default_archive: Path, photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, algorithm="rsa:2048")
    config = tmp_path / "secure.properties"
    text = (
        CONFIG.read_text().replace("_address=http:", "_address=https:").replace("metrics_address=https", "metrics_address=http")
    )
    text = text.replace("disable_token_authorization=true", "disable_token_authorization=false")
    config.write_text(f"{text}private_key_file={certificate.key}\ncertificate_file={certificate.file}\n")

    with serving(default_archive, Ports.free(), tmp_path / "run", config) as server:
        key = server.endpoint("inference").key
        assert key is not None
        client = Client(server.url, access=ServerAccess(key, certificate.file))
        answer = client.segment(photos["chelsea"].read_bytes(), {"masks": "none"}, "application/json")
        monkeypatch.setenv("DEEPLAB_TOKEN", key)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.file))
        smoke = subprocess.run([ROOT / "scripts" / "smoke.sh", server.url, photos["chelsea"]], capture_output=True, text=True)

        assert b'"cat"' in answer
        assert server.why_not_ready() is None
        assert smoke.returncode == 0, smoke.stderr

    assert not (tmp_path / "run" / "key_file.json").exists()


def test_worker_deaths_and_hostile_paths_do_not_break_log_lines(torchserve: Server) -> None:
    log = torchserve.run_directory / "logs" / "ts_log.log"
    requests.post(f"{torchserve.url}/1.0/png%0a2026-01-01T00:00:00,000 [INFO ] FORGED", timeout=TIMEOUT_S)

    (worker,) = torchserve.workers()
    psutil.Process(int(str(worker["pid"]))).kill()
    while torchserve.is_ready():
        time.sleep(0.05)
    torchserve.wait_until_ready(TIMEOUT_S)

    lines = log.read_text().splitlines()
    assert any("Worker disconnected" in line for line in lines)
    assert [line[:80] for line in lines if not re.match(r"\d{4}-\d\d-\d\dT[\d:,]+ \[[A-Z]+ *\] \S", line)] == []
    assert not any(line.startswith("2026-01-01T00:00:00,000 [INFO ] FORGED") for line in lines)
    assert max(map(len, lines)) < 4_200

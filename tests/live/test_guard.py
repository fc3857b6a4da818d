"""This project's programs with a server that requires tokens and uses TLS, and pages that call it."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from handler.options import InferenceOptions
from handler.servers.asgi.access import append_token, make_token
from scripts.evaluate.predictors import ServerPredictor
from scripts.segment.__main__ import main as segment
from scripts.server import Ports, Server, serving
from scripts.server_access import TOKEN_VARIABLE, ServerAccess
from tests.certificates import Certificate, make_certificate
from tests.live.client import TIMEOUT_S, error
from tests.live.cross_origin import ORIGIN, allowed_by, preflight
from tests.support import ROOT, label_maps


@dataclass(frozen=True)
class GuardedServer:
    server: Server
    certificate: Certificate
    #: Files with a token, by scope.
    tokens: dict[str, Path]

    def secret(self, scope: str) -> str:
        return self.tokens[scope].read_text().strip()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, default_archive: Path) -> Iterator[GuardedServer]:
    folder = tmp_path_factory.mktemp("guarded")
    certificate, hashes = make_certificate(folder), folder / "hashes"
    tokens = {scope: folder / scope for scope in ("predict", "operate")}
    for scope, file in tokens.items():
        secret, token = make_token([scope])
        append_token(hashes, token)
        file.write_text(f"{secret}\n")
        file.chmod(0o600)
    options = ["--tokens", str(hashes), "--certificate", str(certificate.file), "--key", str(certificate.key)]
    options += ["--allow-origin", ORIGIN]
    with serving(default_archive, Ports.free(), folder / "run", software="asgi", options=options) as server:
        yield GuardedServer(server, certificate, tokens)


def test_segment_reads_the_token_from_a_file(guarded: GuardedServer, photos: dict[str, Path], tmp_path: Path) -> None:
    command = [str(photos["chelsea"]), "--url", guarded.server.url, "--out", str(tmp_path)]
    command += ["--retries", "0", "--no-contact-sheet"]
    with_certificate = [*command, "--ca", str(guarded.certificate.file)]

    assert segment(with_certificate) == 1
    assert segment([*command, "--token-file", str(guarded.tokens["predict"])]) == 1
    assert segment([*with_certificate, "--token-file", str(guarded.tokens["operate"])]) == 1
    assert segment([*with_certificate, "--token-file", str(guarded.tokens["predict"])]) == 0
    with Image.open(tmp_path / "chelsea.png") as answer:
        assert answer.size == (451, 300)


def test_evaluation_sends_the_token(guarded: GuardedServer, photos: dict[str, Path]) -> None:
    access = ServerAccess(guarded.secret("predict"), guarded.certificate.file)
    predictor = ServerPredictor.connect(guarded.server.url, InferenceOptions(), access)

    (labels,) = label_maps(predictor, [photos["chelsea"]])

    assert np.asarray(labels).shape == (300, 451)


def test_the_smoke_script_sends_the_token_from_the_environment(guarded: GuardedServer, photos: dict[str, Path]) -> None:
    command = [str(ROOT / "scripts" / "smoke.sh"), guarded.server.url, str(photos["chelsea"])]
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(guarded.certificate.file)}

    def smoke(token: str) -> str:
        result = subprocess.run(
            command, env={**environment, TOKEN_VARIABLE: token}, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
        return result.stdout + result.stderr

    assert "all answers are right" in smoke(guarded.secret("predict"))
    assert "answered '401 application/json'" in smoke("wrong")


def test_only_operators_with_a_token_see_workers(guarded: GuardedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert guarded.server.is_ready()
    assert guarded.server.workers() == []

    monkeypatch.setenv(TOKEN_VARIABLE, guarded.secret("operate"))
    assert [worker["status"] for worker in guarded.server.workers()] == ["READY"]


def test_a_page_of_an_allowed_origin_may_send_options_and_read_errors(guarded: GuardedServer, thumbnail: bytes) -> None:
    verify, url = str(guarded.certificate.file), guarded.server.url
    headers = {"Origin": ORIGIN, "X-Segment-Format": "png", "Authorization": f"Bearer {guarded.secret('predict')}"}

    preflight_response = preflight(url, "authorization,content-type,x-segment-format", verify=verify)
    answer, refusal = (
        requests.post(url, body, headers=headers, verify=verify, timeout=TIMEOUT_S) for body in (thumbnail, b"broken")
    )

    assert allowed_by(preflight_response)["headers"] == "authorization,content-type,x-segment-format"
    assert answer.headers["content-type"] == "image/png"
    assert error(refusal) == (400, "InvalidImage")
    origins = {response.headers["access-control-allow-origin"] for response in (preflight_response, answer, refusal)}
    assert origins == {ORIGIN}

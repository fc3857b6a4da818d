"""OpenAPI tools read the document of the server without Java and find it accurate."""

import os
import re
import subprocess
from pathlib import Path

import requests

from scripts.server import Server
from tests.live import client_programs
from tests.live.client import TIMEOUT_S
from tests.live.test_client_libraries import ENVIRONMENT, needs_environment, origin, run

PROGRAMS = Path(client_programs.__path__[0])


@needs_environment
def test_the_openapi_document_is_valid(asgi_server: Server, tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    file.write_bytes(requests.get(f"{origin(asgi_server)}/openapi.json", timeout=TIMEOUT_S).content)

    run([str(ENVIRONMENT / "bin" / "openapi-spec-validator"), str(file)], tmp_path)


@needs_environment
def test_schemathesis_finds_no_faults_or_undocumented_answers(asgi_server: Server, tmp_path: Path) -> None:
    command = [str(ENVIRONMENT / "bin" / "schemathesis"), "--config-file", str(PROGRAMS / "schemathesis.toml"), "run"]
    # The network takes a sixteenth of the time.
    command += [
        f"{origin(asgi_server)}/openapi.json",
        "--header",
        "X-Segment-Scales: 0.25",
        "--continue-on-failure",
        "--no-color",
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROGRAMS), "SCHEMATHESIS_HOOKS": "openapi_hooks"}

    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )

    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-1000:]
    cases = re.search(r"(\d+) generated", result.stdout)
    assert cases, result.stdout[-2000:]
    assert int(cases[1]) > 200

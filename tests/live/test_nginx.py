"""A real nginx with deploy/nginx/deeplab.conf in front of both servers."""

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest
import requests

from scripts.server import Server
from tests.certificates import Certificate, make_certificate
from tests.live.client import TIMEOUT_S
from tests.local_server import LocalServer, PostedForm, Reply, local_server
from tests.node import try_page
from tests.support import ROOT

pytestmark = pytest.mark.skipif(which("nginx") is None, reason="nginx is not installed")
ORIGIN = "https://app.example.org"
_MAIN = """{user}
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    types {{ text/html html; text/css css; text/javascript js; }}
    access_log off;
    {paths}
    include {folder}/deeplab.conf;
    server {{
        listen 127.0.0.1:{outer_port};
        client_max_body_size 44m;
        location /masks/ {{ proxy_pass https://127.0.0.1:{port}/; proxy_ssl_protocols TLSv1.3; }}
    }}
}}
"""
_PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class Proxy:
    """A running nginx."""

    port: int
    certificate: Certificate
    #: The port of a second server block, which proxies `/masks/` to the first.
    outer_port: int

    def request(self, method: str, path: str, **content: object) -> requests.Response:
        url = f"https://127.0.0.1:{self.port}{path}"
        return requests.request(method, url, timeout=TIMEOUT_S, verify=str(self.certificate.file), **content)  # type: ignore[arg-type]

    def exchange(self, *pieces: bytes) -> bytes:
        """Send raw bytes over TLS; return everything received until nginx closes."""
        context = ssl.create_default_context(cafile=str(self.certificate.file))
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            for piece in pieces:
                connection.sendall(piece)
            connection.settimeout(3)
            received = b""
            try:
                while chunk := connection.recv(65536):
                    received += chunk
            except (TimeoutError, ssl.SSLError):
                pass
            return received


@contextmanager
def nginx(folder: Path, server: str, models: str) -> Iterator[Proxy]:
    """Run nginx in front of the server at the address `server`."""
    certificate = make_certificate(folder)
    with socket.create_server(("127.0.0.1", 0)) as inner_socket, socket.create_server(("127.0.0.1", 0)) as outer_socket:
        port, outer_port = inner_socket.getsockname()[1], outer_socket.getsockname()[1]
    text = (ROOT / "deploy" / "nginx" / "deeplab.conf").read_text()
    values = {"PORT": f"127.0.0.1:{port}", "SERVER": server, "MODELS": models, "CERTIFICATES": str(folder), "ORIGIN": ORIGIN}
    for name, value in (values | {"PAGE": str(ROOT / "handler" / "servers" / "asgi" / "static")}).items():
        text = "\n".join(line if line.startswith("#") else line.replace(name, value) for line in text.splitlines())
    (folder / "deeplab.conf").write_text(text + "\n")
    paths = " ".join(f"{name}_temp_path {folder}/{name};" for name in _PATHS)
    user = "user root;" if os.geteuid() == 0 else ""  # It would drop root and lose access to the test's folder.
    (folder / "nginx.conf").write_text(_MAIN.format(user=user, folder=folder, paths=paths, port=port, outer_port=outer_port))
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    try:
        _await_port(port, process, folder / "stderr")
        yield Proxy(port, certificate, outer_port)
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def _await_port(port: int, process: "subprocess.Popen[bytes]", stderr: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, stderr.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("nginx does not listen")


@pytest.fixture
def proxy(server: Server, tmp_path: Path) -> Iterator[Proxy]:
    ports = server.ports
    models = ports.management if server.software == "torchserve" else ports.inference
    with nginx(tmp_path, f"127.0.0.1:{ports.inference}", f"127.0.0.1:{models}") as running:
        yield running


def test_answers_arrive_unchanged_over_http_2_and_only_tls_1_3(
    server: Server, proxy: Proxy, thumbnail: bytes, tmp_path: Path
) -> None:
    direct = requests.post(server.url, thumbnail, headers={"Content-Type": "image/png"}, timeout=TIMEOUT_S)
    (tmp_path / "photo.png").write_bytes(thumbnail)
    url = f"https://localhost:{proxy.port}/predictions/{server.model}"
    command = ["curl", "-sS", "--http2", "--cacert", str(proxy.certificate.file), "-H", "Content-Type: image/png"]
    command += ["-X", "POST", "-T", str(tmp_path / "photo.png"), "-w", "\n%{http_version} %{http_code}", url]

    answer = subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S).stdout

    assert answer == direct.content + b"\n2 200"
    older = ssl.create_default_context(cafile=str(proxy.certificate.file))
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", proxy.port)) as plain, pytest.raises(ssl.SSLError):
        older.wrap_socket(plain, server_hostname="localhost")


def test_the_page_is_served_and_can_list_models(server: Server, proxy: Proxy) -> None:
    page = proxy.request("GET", "/")
    script = page.text.partition('src="')[2].partition('"')[0].removeprefix(".")
    models = proxy.request("GET", "/models").json()["models"]

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert proxy.request("GET", f"/{script.lstrip('/')}").headers["content-type"].startswith("text/javascript")
    assert [model["modelName"] for model in models] == [server.model]
    description = proxy.request("GET", f"/models/{server.model}?customized=true").json()[0]
    assert "cat" in str(description["customizedMetadata"])


# The page and the list of models that it reads are also tried without a browser.
@pytest.mark.exhaustive
def test_the_page_works_with_torchserve_below_a_path(torchserve: Server, photos: dict[str, Path], tmp_path: Path) -> None:
    ports = torchserve.ports
    with nginx(tmp_path, f"127.0.0.1:{ports.inference}", f"127.0.0.1:{ports.management}") as running:
        outcome = try_page(f"http://127.0.0.1:{running.outer_port}/masks/", next(iter(photos.values())).parent, "elsewhere")

    assert "1 passed" in outcome


def test_management_is_read_only(server: Server, proxy: Proxy) -> None:
    refused = [
        proxy.request("PUT", f"/models/{server.model}?min_worker=0"),
        proxy.request("POST", "/models?url=x"),
        proxy.request("DELETE", f"/models/{server.model}"),
    ]

    assert [answer.status_code for answer in refused] == [403] * 3
    assert [worker["status"] for worker in server.workers()] == ["READY"]


@pytest.mark.parametrize(
    "raw_request",
    [
        b"POST /predictions/deeplabv3/1.0/png%0aINJECTED HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"GET /ping%0d%0aX HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /ping?\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST * HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nX-Segment-Format: p\x00ng\r\n\r\n",
    ],
    ids=["line feed", "carriage return", "raw control", "asterisk", "NUL in a header"],
)
def test_control_characters_do_not_reach_the_server(proxy: Proxy, raw_request: bytes) -> None:
    assert proxy.exchange(raw_request).split()[1] == b"400"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 60",
        b"Content-Length: 4\r\nContent-Length: 60",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding : chunked",
        b"Content-Length: +4",
        b"Content-Length: 4, 60",
    ],
)
def test_ambiguous_framing_smuggles_no_second_request(proxy: Proxy, framing: bytes) -> None:
    smuggled = b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"POST /predictions/nobody HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n"

    received = proxy.exchange(head, b"0\r\n\r\n" + smuggled)

    assert received.count(b"HTTP/1.1 ") == 1
    assert received.split()[1] in (b"400", b"501")


def test_a_chunked_body_is_one_request(proxy: Proxy, server: Server, thumbnail: bytes) -> None:
    answer = proxy.request("POST", f"/predictions/{server.model}", data=iter([thumbnail[:100], thumbnail[100:]]))

    assert answer.status_code == 200


def test_pages_of_the_configured_origin_may_call_the_server(proxy: Proxy, server: Server) -> None:
    path, method = f"/predictions/{server.model}", {"Access-Control-Request-Method": "POST"}
    preflight = proxy.request("OPTIONS", path, headers={"Origin": ORIGIN, **method})
    foreign_preflight = proxy.request("OPTIONS", path, headers={"Origin": "https://evil.example", **method})
    error = proxy.request("POST", path, data=b"?", headers={"Origin": ORIGIN, "Content-Type": "image/png"})

    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, ORIGIN)
    assert "access-control-allow-origin" not in foreign_preflight.headers
    assert (error.status_code, error.headers["access-control-allow-origin"]) == (400, ORIGIN)


def test_a_body_over_the_limit_is_413_and_too_many_requests_are_429(proxy: Proxy) -> None:
    head = b"POST /predictions/deeplabv3 HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n"
    flood = b"GET /assets/none HTTP/1.1\r\nHost: a\r\n\r\n" * 300

    assert proxy.exchange(head).split()[1] == b"413"
    received = proxy.exchange(flood + b"GET /assets/none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"HTTP/1.1 429 " in received
    assert b"Retry-After: 1\r\n" in received


@contextmanager
def _nginx_before(folder: Path, upstream: LocalServer) -> Iterator[Proxy]:
    address = f"127.0.0.1:{upstream.server_port}"
    with nginx(folder, address, address) as proxy:
        yield proxy


@pytest.mark.parametrize("failure", [Reply(500), Reply(502), Reply(reset=True)], ids=["500", "502", "reset"])
def test_a_failed_prediction_is_retried_once(tmp_path: Path, failure: Reply) -> None:
    def reply(form: PostedForm) -> Reply:
        return failure if form.attempt == 1 or form.image == b"always" else Reply()

    with local_server(reply) as upstream, _nginx_before(tmp_path, upstream) as proxy:
        transient = proxy.request("POST", "/predictions/deeplabv3", files={"data": b"once"})
        persistent = proxy.request("POST", "/predictions/deeplabv3", files={"data": b"always"})

        assert (transient.status_code, transient.content) == (200, b"answer")
        assert persistent.status_code in (500, 502)
        assert [form.image for form in upstream.forms] == [b"once"] * 2 + [b"always"] * 2


def test_a_503_has_a_retry_after_and_is_not_retried(tmp_path: Path) -> None:
    def reply(form: PostedForm) -> Reply:
        return Reply(503, headers={"Retry-After": "7"} if form.image == b"ours" else {})

    with local_server(reply) as upstream, _nginx_before(tmp_path, upstream) as proxy:
        answers = [proxy.request("POST", "/predictions/deeplabv3", files={"data": name}) for name in (b"ours", b"torchserve")]

        assert [answer.headers["retry-after"] for answer in answers] == ["7", "5"]
        assert len(upstream.forms) == 2

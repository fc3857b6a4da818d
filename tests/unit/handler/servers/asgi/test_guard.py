"""Tokens, TLS, origins, hosts and headers of one running server."""

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from handler.servers.asgi.access import OPERATE, PREDICT, append_token, make_token
from handler.servers.asgi.command import main
from handler.servers.asgi.guard import SECURITY_HEADERS
from tests.certificates import Certificate, make_certificate, openssl
from tests.live.cross_origin import ORIGIN, allowed_by, preflight
from tests.unit.handler.servers.asgi.support import TIMEOUT_S, FakeServer, fake_server, read_error, until, write_fake_archive

HOST = "maps.example.org"
HEADER_TIMEOUT_S = 0.5


@dataclass(frozen=True)
class GuardedServer:
    """A server with every access check turned on, and credentials that pass them."""

    server: FakeServer
    certificate: Certificate
    tokens: Path
    predict_token: str
    operate_token: str

    def ask(
        self,
        path: str,
        token: str | None = None,
        method: str = "GET",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        merged = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        verify = str(self.certificate.file)
        return requests.request(method, self.server.url + path, data=data, headers=merged, verify=verify, timeout=TIMEOUT_S)

    def post_prediction(self, **headers: str) -> requests.Response:
        return self.ask("/predictions/fake", self.predict_token, "POST", data=b"echo x", headers=headers)

    def connect(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.certificate.file))
        return context.wrap_socket(self.server.connect(), server_hostname="localhost")

    def raw_answer(self, head: str) -> bytes:
        """Return the answer to a request head, completed with `Connection: close`."""
        with self.connect() as connection:
            connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def presented_certificate(self) -> bytes:
        """Return the certificate presented in a handshake."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(self.server.connect()) as connection:
            return connection.getpeercert(binary_form=True) or b""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedServer]:
    folder = tmp_path_factory.mktemp("guard")
    certificate, tokens = make_certificate(folder), folder / "tokens"
    predict, operate = (add_token(tokens, scope, scope) for scope in (PREDICT, OPERATE))
    tls = ["--certificate", str(certificate.file), "--key", str(certificate.key)]
    checks = ["--allow-origin", ORIGIN, "--allow-host", HOST, "--header-timeout", str(HEADER_TIMEOUT_S)]
    with fake_server(folder, "--tokens", str(tokens), *tls, *checks) as server:
        running = GuardedServer(server, certificate, tokens, predict, operate)
        until(lambda: running.ask("/v2/health/ready").ok)
        yield running


def add_token(file: Path, name: str, *scopes: str) -> str:
    secret, token = make_token(scopes, name)
    append_token(file, token)
    return secret


@pytest.mark.parametrize("path", ["/ping", "/v2/health/live", "/v2/health/ready"])
def test_probes_need_no_token(guarded: GuardedServer, path: str) -> None:
    assert guarded.ask(path).status_code == 200


PREDICTIONS = [
    "/predictions/fake",
    "/explanations/fake/1.0",
    "/v1/models/fake:predict",
    "/v2/models/fake/infer",
    "/invocations",
]
OPERATIONS = ["/models", "/models/fake", "/models/fake?customized=true", "/models/fake/1.0"]
EITHER_SCOPE = ["/v2", "/v2/models/fake", "/v2/models/fake/ready", "/v1/models", "/v1/models/fake"]


@pytest.mark.parametrize("path", [*PREDICTIONS, *OPERATIONS, *EITHER_SCOPE, "/nothing", "/metrics"])
def test_all_other_paths_need_a_token(guarded: GuardedServer, path: str) -> None:
    method = "POST" if path in PREDICTIONS else "GET"

    for token in (None, "deeplab_wrong"):
        response = guarded.ask(path, token, method, data=b"echo x")
        assert read_error(response) == (401, "Unauthorized")
        assert response.headers["www-authenticate"].startswith('Bearer realm="deeplab"')
    query = f"access_token={guarded.operate_token}&token={guarded.predict_token}"
    response = guarded.ask(f"{path}{'&' if '?' in path else '?'}{query}", method=method)
    assert read_error(response) == (401, "Unauthorized")


@pytest.mark.parametrize("path", PREDICTIONS)
def test_predictions_need_their_scope(guarded: GuardedServer, path: str) -> None:
    assert guarded.ask(path, guarded.predict_token, "POST", data=b"echo x").status_code == 200
    response = guarded.ask(path, guarded.operate_token, "POST", data=b"echo x")
    assert read_error(response) == (403, "Forbidden")
    assert 'error="insufficient_scope"' in response.headers["www-authenticate"]


@pytest.mark.parametrize("path", OPERATIONS)
def test_operations_need_their_scope(guarded: GuardedServer, path: str) -> None:
    assert guarded.ask(path, guarded.operate_token).status_code == 200
    assert read_error(guarded.ask(path, guarded.predict_token)) == (403, "Forbidden")


def test_metrics_are_for_operations(guarded: GuardedServer) -> None:
    # 501: the package prometheus-client is not installed.
    assert guarded.ask("/metrics", guarded.operate_token).status_code in (200, 501)
    assert read_error(guarded.ask("/metrics", guarded.predict_token)) == (403, "Forbidden")


@pytest.mark.parametrize("path", EITHER_SCOPE)
def test_model_metadata_needs_any_token(guarded: GuardedServer, path: str) -> None:
    assert [guarded.ask(path, token).status_code for token in (guarded.predict_token, guarded.operate_token)] == [200, 200]


def test_an_unknown_path_is_404_with_a_valid_token(guarded: GuardedServer) -> None:
    assert read_error(guarded.ask("/nothing", guarded.predict_token)) == (404, "PathNotFound")


def test_two_authorization_headers_are_refused(guarded: GuardedServer) -> None:
    head = f"GET /models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {guarded.operate_token}"

    assert guarded.raw_answer(f"{head}\r\nAuthorization: Bearer {guarded.operate_token}").startswith(b"HTTP/1.1 401 ")
    assert guarded.raw_answer(f"{head} \t").startswith(b"HTTP/1.1 200 ")


def test_a_trailer_does_not_authorize(guarded: GuardedServer) -> None:
    head = "POST /predictions/fake HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
    trailers = f"4\r\necho\r\n0\r\nAuthorization: Bearer {guarded.predict_token}\r\n\r\n"
    with guarded.connect() as connection:
        connection.sendall(f"{head}\r\nConnection: close\r\n\r\n{trailers}".encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_adding_or_removing_a_token_takes_effect_at_once(guarded: GuardedServer) -> None:
    before = guarded.tokens.read_text()
    secret = add_token(guarded.tokens, "other", PREDICT)
    assert guarded.ask("/v2", secret).status_code == 200

    guarded.tokens.write_text(before)
    assert read_error(guarded.ask("/v2", secret)) == (401, "Unauthorized")
    assert guarded.ask("/v2", guarded.predict_token).status_code == 200


def test_the_log_names_the_token_and_holds_no_secret(guarded: GuardedServer) -> None:
    guarded.post_prediction()

    assert guarded.server.request_lines()[-1]["token"] == PREDICT
    logs = guarded.server.requests_file.read_text() + guarded.server.events_file.read_text()
    assert not [secret for secret in (guarded.predict_token, guarded.operate_token) if secret in logs]


def test_a_page_of_a_listed_origin_may_send_its_token_and_read_errors(guarded: GuardedServer) -> None:
    request_headers, verify = "authorization, x-segment-format", str(guarded.certificate.file)
    known, unknown = (
        preflight(guarded.server.url + path, request_headers, verify=verify) for path in ("/predictions/fake", "/nothing")
    )
    answers = [guarded.post_prediction(Origin=ORIGIN), guarded.ask("/models", headers={"Origin": ORIGIN})]

    allowed = allowed_by(known)
    assert [known.status_code, unknown.status_code] == [204, 204]
    assert allowed["origin"] == ORIGIN
    assert "POST" in allowed["methods"]
    assert "POST" in allowed_by(unknown)["methods"]
    assert {"authorization", "x-segment-format"} <= {name.strip() for name in allowed["headers"].split(",")}
    assert [answer.status_code for answer in answers] == [200, 401]
    assert [answer.headers["access-control-allow-origin"] for answer in answers] == [ORIGIN] * 2
    for name in ("X-Request-ID", "Retry-After", "Inference-Header-Content-Length"):
        assert name in answers[0].headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://evil.example", f"{ORIGIN}.evil.example", "null", "http://app.example.org", ""])
def test_a_page_of_an_unlisted_origin_gets_no_permission(guarded: GuardedServer, origin: str) -> None:
    url, verify = f"{guarded.server.url}/predictions/fake", str(guarded.certificate.file)
    permission = preflight(url, "authorization", origin, verify=verify)

    for response in (permission, guarded.post_prediction(Origin=origin)):
        assert allowed_by(response) == {}
        assert "access-control-expose-headers" not in response.headers
        assert response.headers["vary"] == "Origin"


def test_vary_names_encoding_and_origin(guarded: GuardedServer) -> None:
    answer = guarded.ask("/predictions/fake", guarded.predict_token, "POST", data=b"large 9000", headers={"Origin": ORIGIN})

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding, Origin"


def test_every_answer_has_the_security_headers(guarded: GuardedServer) -> None:
    paths = {"/ping": 200, "/models": 401, "/nothing": 401}
    answers = [guarded.ask(path) for path in paths]

    assert [answer.status_code for answer in answers] == list(paths.values())
    for answer in [*answers, guarded.post_prediction()]:
        assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert "server" not in answer.headers
    malformed = guarded.raw_answer("hello")
    assert malformed.startswith(b"HTTP/1.1 400 ")
    assert b"x-content-type-options: nosniff\r\n" in malformed


def test_hsts_is_sent_except_for_this_machine(guarded: GuardedServer) -> None:
    assert "strict-transport-security" in guarded.ask("/ping", headers={"Host": HOST}).headers
    assert "strict-transport-security" not in guarded.ask("/ping").headers


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8080", "localhost.", "app.localhost", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8080"),
        *("[::ffff:127.0.0.1]:8080", HOST, f"{HOST.upper()}.:443"),
    ],
)
def test_operations_are_allowed_under_local_and_listed_hosts(guarded: GuardedServer, host: str) -> None:
    assert guarded.ask("/models", guarded.operate_token, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8080", "localhost.evil.example", "user@localhost", "localhost@evil.example", "[::2]"),
        *("10.0.0.1", "[::]", "127.1", "2130706433", "localhost..", "localhost:x", "local host", "::1", ""),
    ],
)
def test_operations_under_other_hosts_are_421_and_predictions_answered(guarded: GuardedServer, host: str) -> None:
    response = guarded.ask("/models", guarded.operate_token, headers={"Host": host})

    assert read_error(response) == (421, "Misdirected")
    assert "--allow-host" in response.json()["message"]
    assert guarded.post_prediction(Host=host).status_code == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /models HTTP/1.1", 400),
        ("GET /ping HTTP/1.1", 400),
        ("GET /models HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 400),
        ("GET /models HTTP/1.0", 200),
        ("GET /models HTTP/1.0\r\nHost: evil.example", 421),
        ("GET http://localhost/models HTTP/1.1\r\nHost: localhost", 200),
        ("GET http://evil.example/models HTTP/1.1\r\nHost: localhost", 421),
        ("GET HTTPS://localhost@evil.example/models HTTP/1.1\r\nHost: localhost", 421),
        ("GET https://localhost/models HTTP/1.1\r\nHost: evil.example", 421),
        ("OPTIONS /models HTTP/1.1\r\nHost: evil.example", 204),
    ],
)
def test_an_absolute_url_sets_the_host_and_exactly_one_host_is_required(guarded: GuardedServer, head: str, status: int) -> None:
    answer = guarded.raw_answer(f"{head}\r\nAuthorization: Bearer {guarded.operate_token}")

    assert answer.partition(b"\r\n")[0].split()[1] == str(status).encode()


def test_tls_is_1_2_or_newer(guarded: GuardedServer) -> None:
    def version(newest: ssl.TLSVersion) -> str | None:
        context = ssl.create_default_context(cafile=str(guarded.certificate.file))
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1") if newest < ssl.TLSVersion.TLSv1_2 else contextlib.nullcontext():
            context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, newest
        with context.wrap_socket(guarded.server.connect(), server_hostname="localhost") as connection:
            return connection.version()

    assert [version(newest) for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)] == ["TLSv1.2", "TLSv1.3"]
    with pytest.raises(OSError, match=r"EOF|reset|version"):
        version(ssl.TLSVersion.TLSv1_1)


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_connection_without_a_tls_handshake_is_closed(guarded: GuardedServer, data: bytes) -> None:
    with guarded.server.connect() as connection:
        connection.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_missing_headers_after_the_handshake_are_408(guarded: GuardedServer) -> None:
    with guarded.connect() as connection:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 408 ")


def test_a_large_answer_is_complete_although_the_connection_closes_after_it(guarded: GuardedServer) -> None:
    headers = {"Connection": "close"}

    answer = guarded.ask("/predictions/fake", guarded.predict_token, "POST", data=b"large 9000000", headers=headers)

    assert len(answer.content) == 9_000_002


def test_a_renewed_certificate_is_presented_and_a_mismatched_one_is_not(guarded: GuardedServer, tmp_path: Path) -> None:
    first = guarded.presented_certificate()
    old, new = (guarded.certificate.file.read_bytes(), guarded.certificate.key.read_bytes()), make_certificate(tmp_path, "new")
    try:
        guarded.certificate.file.write_bytes(new.file.read_bytes())  # Its key has not been renewed yet.
        assert guarded.presented_certificate() == first
        guarded.certificate.key.write_bytes(new.key.read_bytes())
        assert guarded.presented_certificate() == ssl.PEM_cert_to_DER_cert(new.file.read_text())
    finally:
        guarded.certificate.file.write_bytes(old[0])
        guarded.certificate.key.write_bytes(old[1])
    assert guarded.presented_certificate() == first
    reasons = [str(event["reason"]) for event in guarded.server.events("file not usable")]
    assert "is not the key of the certificate" in reasons[0]


@pytest.mark.slow
def test_connections_without_a_handshake_count_and_do_not_delay_the_end(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    tls = ["--certificate", str(certificate.file), "--key", str(certificate.key)]
    with fake_server(tmp_path, *tls, "--connections", "2", "--header-timeout", "600") as server, server.connect():
        with server.connect(), server.connect() as third, contextlib.suppress(ConnectionResetError):
            assert third.recv(1) == b""
        until(lambda: _is_live(server, certificate))
        server.process.terminate()

        assert server.process.wait(TIMEOUT_S) == 0


def _is_live(server: FakeServer, certificate: Certificate) -> bool:
    try:
        return requests.get(f"{server.url}/v2/health/live", verify=str(certificate.file), timeout=TIMEOUT_S).ok
    except requests.ConnectionError:
        return False


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Write files for options to name."""
    certificate, other_certificate = make_certificate(tmp_path, "certificate"), make_certificate(tmp_path, "other")
    openssl("pkey", "-in", str(certificate.key), "-aes256", "-passout", "pass:x", "-out", str(tmp_path / "encrypted"))
    (tmp_path / "empty").touch()
    keys = {"key": certificate.key, "other key": other_certificate.key, "encrypted": tmp_path / "encrypted"}
    return {**keys, "certificate": certificate.file, "empty": tmp_path / "empty", "none": tmp_path / "none", "folder": tmp_path}


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--tokens", "none"], ["--tokens", "No such file"]),
        (["--tokens", "folder"], ["--tokens", "regular file"]),
        (["--tokens", "empty"], ["--tokens", "no token"]),
        (["--key", "key"], ["--key", "--certificate"]),
        (["--certificate", "none"], ["--certificate", "No such file"]),
        (["--certificate", "folder"], ["--certificate", "directory"]),
        (["--certificate", "empty"], ["--certificate", "no certificate"]),
        (["--certificate", "certificate"], ["--key", "no private key"]),
        (["--certificate", "certificate", "--key", "other key"], ["--key", "not the key of"]),
        (["--certificate", "certificate", "--key", "encrypted"], ["--key", "encrypted", "openssl pkey"]),
        (["--allow-origin", "app.example.org"], ["'app.example.org'", "https://app.example.org"]),
        (["--allow-origin", "https://app.example.org/"], ["without a path"]),
        (["--allow-origin", "null"], ["'null'"]),
        (["--allow-host", "example.org:80"], ["'example.org:80'", "without a port"]),
    ],
)
def test_an_invalid_access_option_is_one_sentence_and_exit_code_2(
    files: dict[str, Path], tmp_path: Path, options: list[str], fragments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(files.get(option, option)) for option in options]

    assert main(["--model", f"fake={write_fake_archive(tmp_path / 'fake')}", "--port", "0", *arguments]) == 2

    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert [fragment for fragment in fragments if fragment not in error] == []

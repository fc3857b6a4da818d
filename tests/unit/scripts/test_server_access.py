"""Access tokens in the programs' requests."""

from argparse import ArgumentParser
from pathlib import Path

import pytest

from scripts.client import Client
from scripts.segment.__main__ import main
from scripts.server_access import TOKEN_VARIABLE, ServerAccess, add_access_options
from tests.local_server import Reply, local_server


def sent_authorization(headers: dict[str, str], access: ServerAccess | None = None, user: str = "") -> str | None:
    with local_server(lambda _: Reply()) as server:
        Client(server.url.replace("//", f"//{user}"), headers=headers, access=access).segment(b"image", {}, "image/png")
    (form,) = server.forms
    return form.headers["Authorization"]


def test_the_environments_token_is_sent_unless_the_request_has_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "secret\n")

    assert sent_authorization({}) == "Bearer secret"
    assert sent_authorization({}, ServerAccess("other")) == "Bearer other"
    assert sent_authorization({"authorization": "Bearer key"}) == "Bearer key"
    assert sent_authorization({}, user="me:pw@") == "Basic bWU6cHc="


def test_a_netrc_does_not_replace_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password pw\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    assert sent_authorization({}, ServerAccess("token")) == "Bearer token"


def test_a_token_is_read_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, parser = tmp_path / "token", ArgumentParser()
    add_access_options(parser)
    file.write_text("secret\n")
    file.chmod(0o600)

    assert ServerAccess.from_arguments(parser.parse_args(["--token-file", str(file)])) == ServerAccess("secret")
    assert capsys.readouterr().err == ""
    file.chmod(0o644)
    parser.parse_args(["--token-file", str(file)])
    assert "other users can read" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"two words", b"two\nlines", "tokén".encode(), b"\xff"])
def test_a_file_without_a_valid_token_is_refused(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_bytes(content)

    assert main(["photo.jpg", "--out", str(tmp_path), "--token-file", str(tmp_path / "token")]) == 2

    assert "--token-file" in capsys.readouterr().err


def test_the_repr_of_access_hides_the_token() -> None:
    assert "secret" not in repr(ServerAccess("secret"))

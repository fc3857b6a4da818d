"""Bearer tokens and their file."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from handler.servers.asgi.access import OPERATE, PREDICT, Access, make_token, read_tokens
from handler.servers.asgi.command import main
from handler.servers.asgi.errors import Forbidden, Unauthorized
from handler.servers.asgi.watched_files import UnusableFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("# who may call\n")
    path.chmod(0o600)
    return path


def add(file: Path, name: str, *scopes: str) -> str:
    """Put a new token into the file, and return the token."""
    secret, token = make_token(scopes, name)
    with file.open("a") as stream:
        stream.write(f"{token.line()}  # of {name}\n")
    return secret


def bearer(secret: str) -> list[str]:
    return [f"Bearer {secret}"]


def test_without_a_file_everyone_may_do_everything() -> None:
    assert Access().check([], {OPERATE}) is None


def test_each_token_grants_its_scopes(file: Path) -> None:
    web, ops, both = add(file, "web", PREDICT), add(file, "ops", OPERATE), add(file, "both", PREDICT, OPERATE)
    access = Access(file)

    assert [access.check(bearer(secret), {PREDICT}) for secret in (web, both)] == ["web", "both"]
    assert [access.check(bearer(secret), {OPERATE}) for secret in (ops, both)] == ["ops", "both"]
    assert access.check(bearer(web), {PREDICT, OPERATE}) == "web"
    for secret, scope in ((web, OPERATE), (ops, PREDICT)):
        with pytest.raises(Forbidden, match=scope) as error:
            access.check(bearer(secret), {scope})
        assert error.value.challenge == f'Bearer realm="deeplab", error="insufficient_scope", scope="{scope}"'


@pytest.mark.parametrize(
    "make_headers",
    [
        lambda _: [],
        lambda _: [""],
        lambda secret: [secret],
        lambda secret: [f"Basic {secret}"],
        lambda secret: [f"Bearer\t{secret}"],
        lambda secret: [f"Bearer {secret} "],
        lambda secret: [f"Bearer {secret}\n"],
        lambda secret: [f"Bearer {secret}, Bearer {secret}"],
        lambda secret: [f"Bearer {secret}"] * 2,
        lambda secret: ["Bearer wrong", f"Bearer {secret}"],
        lambda secret: [f"Bearer {secret[:-1]}"],
        lambda secret: [f"Bearer {secret.upper()}"],
        lambda secret: [f"Bearer {secret[:-1]}é"],
        lambda secret: [f"Bearer {secret[:-1]}\uff41"],
        lambda _: ["Bearer " + "a" * 100_000],
    ],
    ids=[
        *("no header", "empty header", "no scheme", "other scheme", "tab", "trailing space", "newline", "two tokens"),
        *("two headers", "wrong first header", "short", "upper case", "accented letter", "full-width letter", "long"),
    ],
)
def test_anything_but_one_complete_token_is_refused(file: Path, make_headers: Callable[[str], list[str]]) -> None:
    secret = add(file, "web", PREDICT)

    with pytest.raises(Unauthorized) as error:
        Access(file).check(make_headers(secret), {PREDICT})

    assert error.value.challenge.startswith('Bearer realm="deeplab"')
    assert secret not in str(error.value)


def test_the_scheme_is_case_insensitive(file: Path) -> None:
    secret = add(file, "web", PREDICT)

    assert Access(file).check([f"bEARER  {secret}"], {PREDICT}) == "web"


def test_a_changed_file_takes_effect_at_once(file: Path) -> None:
    first = add(file, "first", PREDICT)
    access = Access(file)
    second = add(file, "second", PREDICT)

    assert access.check(bearer(second), {PREDICT}) == "second"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "first" not in line))
    with pytest.raises(Unauthorized):
        access.check(bearer(first), {PREDICT})
    assert access.check(bearer(second), {PREDICT}) == "second"


def _directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _dangling_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        _directory,
        _pipe,
        _dangling_link,
        lambda file: file.write_text(""),
        lambda file: file.write_text("# nobody\n"),
        lambda file: file.write_bytes(b"\xff\xfe\x00"),
        lambda file: file.write_text("# " + "a" * 1_000_000),
        lambda file: file.write_text("web predict\n"),
        lambda file: file.write_text(f"web predict,rule {DIGEST}"),
        lambda file: file.write_text(f"web predict {DIGEST[:-1]}"),
        lambda file: file.write_text(f"we/b predict {DIGEST}"),
        lambda file: file.write_text(f"web predict {DIGEST}\nops operate {DIGEST}"),
        lambda file: file.chmod(0o620),
        lambda file: file.chmod(0o602),
        pytest.param(lambda file: os.chown(file, 65_534, -1), marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root")),
    ],
    ids=[
        *("missing", "directory", "pipe", "dangling link", "empty", "only a comment", "not text", "too large", "no digest"),
        *("unknown scope", "short digest", "invalid name", "same digest twice", "group-writable", "world-writable", "owner"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_the_start_and_ignored_later(
    file: Path, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    secret = add(file, "web", PREDICT)
    access = Access(file)
    damage(file)

    assert [access.check(bearer(secret), {PREDICT}) for _ in range(3)] == ["web"] * 3
    (event,) = capsys.readouterr().err.splitlines()
    assert '"event":"file not usable","option":"--tokens"' in event
    with pytest.raises(UnusableFile, match="tokens"):
        Access(file)


def test_a_retargeted_link_is_followed(file: Path, tmp_path: Path) -> None:
    link, new_file = tmp_path / "link", tmp_path / "other"
    add(file, "old", PREDICT)
    link.symlink_to(file)
    access = Access(link)
    new = add(new_file, "new", PREDICT)
    new_file.chmod(0o600)
    (tmp_path / "next").symlink_to(new_file)
    (tmp_path / "next").replace(link)

    assert access.check(bearer(new), {PREDICT}) == "new"


def test_a_file_that_others_can_read_is_a_warning(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(file, "web", PREDICT)
    file.chmod(0o644)

    Access(file)

    assert "can read it" in capsys.readouterr().err


def test_the_command_makes_a_token_and_its_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--scope", "predict", "--scope", "operate"]) == 0

    secret, line = (text.partition(": ")[2].strip() for text in capsys.readouterr().out.splitlines())
    file.write_text(line)
    assert Access(file).check(bearer(secret), {OPERATE}) == line.split()[0]
    assert secret not in line


def test_the_command_appends_to_a_private_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new"
    for name in ("web", "ops"):
        assert main(["token", "--name", name, "--scope", "predict", "--append", str(file)]) == 0
    secrets = capsys.readouterr().out.split()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [token.name for token in read_tokens(file)] == ["web", "ops"]
    assert [Access(file).check(bearer(secret), {PREDICT}) for secret in secrets] == ["web", "ops"]
    assert main(["token", "--name", "web", "--scope", "predict", "--append", str(file)]) == 2
    assert "another --name" in capsys.readouterr().err

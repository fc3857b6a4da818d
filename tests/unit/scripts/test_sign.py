"""Archives signed by scripts.sign and by minisign, and servers that refuse all others."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from handler.servers.asgi.command import main as serve
from handler.servers.asgi.command import serve_archive
from handler.servers.asgi.signatures import SignatureError, signature_path, verify
from handler.servers.asgi.unpack import UnpackError, unpack
from scripts.bulk.__main__ import main as bulk
from scripts.server import Ports, ServerError, start
from scripts.server.verified import requires_verification, split_keys, verified_copy
from scripts.sign import PASSWORD_VARIABLE, main

pytest.importorskip("minisign", reason="the package py-minisign (extra signing) is missing")


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return a signed archive, beside `models.key` and `models.pub`."""
    path = tmp_path / "pets.mar"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("MAR-INF/MANIFEST.json", "{}")
        packed.writestr("__main__.py", "print('executed')")
    assert main(["--make-key", str(tmp_path / "models")]) == 0
    assert main([str(path), "--key", str(tmp_path / "models.key")]) == 0
    return path


@pytest.fixture
def key(archive: Path) -> Path:
    return archive.with_name("models.pub")


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def another_key(folder: Path) -> Path:
    assert main(["--make-key", str(folder / "other")]) == 0
    return folder / "other.pub"


def test_a_signed_archive_is_extracted(archive: Path, key: Path, tmp_path: Path) -> None:
    folder = unpack(archive, tmp_path / "cache", [key])

    assert (folder / "MAR-INF" / "MANIFEST.json").is_file()
    assert main([str(archive), "--verify-key", str(key)]) == 0


def test_a_changed_archive_is_refused_before_it_is_extracted(archive: Path, key: Path, tmp_path: Path) -> None:
    change_a_byte(archive)

    with pytest.raises(UnpackError, match=r"pets\.mar: refused, .*models\.pub: the archive or its signature was changed"):
        unpack(archive, tmp_path / "cache", [key])
    assert list((tmp_path / "cache").iterdir()) == []


def test_another_key_is_refused_and_one_of_several_suffices(archive: Path, key: Path, tmp_path: Path) -> None:
    unrelated_key = another_key(tmp_path)

    with pytest.raises(UnpackError, match=r"other\.pub: signed with another key"):
        unpack(archive, tmp_path / "cache", [unrelated_key])
    assert unpack(archive, tmp_path / "cache", [unrelated_key, key]).is_dir()


def test_an_archive_without_signature_is_refused(archive: Path, key: Path, tmp_path: Path) -> None:
    signature_path(archive).unlink()

    with pytest.raises(UnpackError, match=r"not signed: there is no pets\.mar\.minisig next to it"):
        unpack(archive, tmp_path / "cache", [key])


def test_an_extracted_folder_cannot_be_verified(key: Path, tmp_path: Path) -> None:
    with pytest.raises(UnpackError, match="a folder, which has no signature"):
        unpack(tmp_path, tmp_path / "cache", [key])


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"one line\n", b"untrusted comment: x\nAAAA\ntrusted comment: y\nBBBB\n"]
)
def test_files_that_are_not_minisigns_are_reported(archive: Path, key: Path, content: bytes) -> None:
    signature_path(archive).write_bytes(content)
    with pytest.raises(SignatureError, match=r"pets\.mar\.minisig: not a minisign signature"):
        verify(archive, io.BytesIO(), [key])

    main([str(archive), "--key", str(archive.with_name("models.key"))])
    key.write_bytes(content)
    with pytest.raises(SignatureError, match=r"models\.pub: not a minisign public key"):
        verify(archive, io.BytesIO(), [key])


def test_the_server_reports_the_reason_and_ends(
    archive: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_a_byte(archive)
    options = ["--model", f"pets={archive}", "--cache", str(tmp_path / "cache"), "--verify-key", str(key)]

    assert serve(options) == 1
    assert "pets.mar: refused, its signature pets.mar.minisig is not valid" in capsys.readouterr().err


def test_a_running_archive_cannot_verify_itself(archive: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve_archive(archive, ["--verify-key", str(key)]) == 2
    assert "has already run the archive's own code" in capsys.readouterr().err


def test_torchserve_refuses_a_changed_archive(archive: Path, key: Path, tmp_path: Path) -> None:
    change_a_byte(archive)

    with pytest.raises(ServerError, match="the archive or its signature was changed"):
        start(archive, Ports.free(), tmp_path / "run", options=["--verify-key", str(key)])


def test_torchserve_gets_a_verified_copy(archive: Path, key: Path, tmp_path: Path) -> None:
    keys, other_options = split_keys([f"--verify-key={key}", "--other", "x"])
    copy = verified_copy(archive, keys, tmp_path)

    assert other_options == ["--other", "x"]
    assert copy != archive
    assert copy.read_bytes() == archive.read_bytes()
    assert verified_copy(archive, [], tmp_path) == archive
    assert verified_copy(archive, keys, tmp_path) == copy  # As with a server's second archive.


@pytest.mark.parametrize("raster", [[], ["--raster"]], ids=["images", "rasters"])
def test_a_bulk_run_refuses_a_changed_archive(
    raster: list[str], archive: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_a_byte(archive)
    options = ["--archive", str(archive), "--verify-key", str(key), "--out", str(tmp_path / "out")]

    assert bulk([*raster, str(archive), *options]) == 1
    assert "the archive or its signature was changed" in capsys.readouterr().err


def test_verification_is_recognised_in_the_options() -> None:
    assert requires_verification(["--verify-key", "k"])
    assert requires_verification(["--verify-key=k"])
    assert not requires_verification(["--port", "1"])


def test_an_encrypted_key_needs_its_password(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from minisign import SecretKey

    secret = SecretKey.from_file(archive.with_name("models.key"))
    # minisign's default takes a gigabyte and several seconds.
    secret.encrypt("right", opslimit=32768, memlimit=1 << 24)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(bytes(secret) + b"\n")

    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
    assert main([str(archive), "--key", str(encrypted)]) == 1
    assert "encrypted.key: cannot sign: wrong password" in capsys.readouterr().err
    monkeypatch.setenv(PASSWORD_VARIABLE, "right")
    assert main([str(archive), "--key", str(encrypted)]) == 0


def test_keys_are_private_and_never_replaced(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = archive.with_name("models.key")

    assert secret.stat().st_mode & 0o777 == 0o600
    assert main(["--make-key", str(secret.with_suffix(""))]) == 1
    assert "models.key: exists" in capsys.readouterr().err


INVALID_ARGUMENTS = ["", "--key {key}", "{archive}", "{archive} --make-key a", "--make-key a --key {key}"]


@pytest.mark.parametrize("arguments", INVALID_ARGUMENTS)
def test_conflicting_options_are_refused(arguments: str, archive: Path, key: Path) -> None:
    assert main(arguments.format(archive=archive, key=key).split()) == 2


@pytest.mark.skipif(shutil.which("minisign") is None, reason="the program minisign is missing (Debian's package minisign)")
def test_signatures_are_exchanged_with_the_minisign_program(archive: Path, key: Path) -> None:
    def minisign(*arguments: object) -> str:
        command = ["minisign", *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert "Signature and comment signature verified" in minisign("-Vm", archive, "-p", key)
    minisign_key = archive.with_name("minisign")
    minisign("-GW", "-p", f"{minisign_key}.pub", "-s", f"{minisign_key}.key")
    minisign("-Sm", archive, "-s", f"{minisign_key}.key")
    with archive.open("rb") as file:
        assert "file:pets.mar" in verify(archive, file, [Path(f"{minisign_key}.pub")])

"""Starting the server: command lines, archives, missing parts."""

import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handler.servers.asgi.command import main
from handler.servers.asgi.options import OptionError, parse_options
from handler.servers.asgi.server import listen, make_guard
from handler.servers.asgi.unpack import UnpackError, sweep, unpack
from scripts.server import Ports
from tests.support import ROOT
from tests.unit.handler.servers.asgi.support import TIMEOUT_S, write_fake_archive


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Write the parts of an archive that start the server."""
    path = tmp_path / "pets.mar"
    with zipfile.ZipFile(path, "w") as mar:
        mar.writestr("MAR-INF/MANIFEST.json", "{}")
        mar.writestr("requirements.txt", "numpy-other==1\nstarlette==1.2.3\n")
        mar.write(ROOT / "handler" / "servers" / "asgi" / "archive_main.py", "__main__.py")
        for file in (ROOT / "handler").rglob("*.py"):
            mar.write(file, file.relative_to(ROOT).as_posix())
    return path


def parse(*arguments: str, archive: Path | None = None) -> object:
    return parse_options(arguments, "server", archive)


def test_an_archive_serves_itself_under_its_own_name() -> None:
    assert parse_options([], "server", Path("a/pets.mar")).models == {"pets": Path("a/pets.mar")}


def test_models_come_from_a_store_and_by_name(archive: Path, tmp_path: Path) -> None:
    options = parse_options(["--model-store", str(tmp_path), "--model", f"dogs={archive}"], "server")

    assert options.models == {"pets": archive, "dogs": archive}
    assert (options.host, options.port) == ("127.0.0.1", 8080)


def test_connections_have_tcp_nodelay(archive: Path) -> None:
    options = parse_options(["--port", str(Ports.free().inference)], "server", archive)

    with listen(options) as listener, socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["--model"]),
        (["--prot", "1"], ["--prot"]),
        (["--port", "eighty"], ["--port", "'eighty'", "whole number"]),
        (["--model", "a=nowhere.mar"], ["'nowhere.mar'", "no such file"]),
        (["--model-store", "nowhere"], ["'nowhere'", "no such folder"]),
        (["--model-store", "docs"], ["docs", ".mar"]),
        (["--model", "a=docs", "--model", "a=docs"], ["two models", "'a'"]),
        (["--timeout", "0"], ["'0'", "seconds"]),
    ],
)
def test_an_invalid_option_is_one_sentence_and_exit_code_2(
    arguments: Sequence[str], fragments: Sequence[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)

    assert main(arguments) == 2

    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert [fragment for fragment in fragments if fragment not in error] == []


def test_an_archive_prints_its_options_without_any_package(archive: Path) -> None:
    command = [sys.executable, "-I", "-S", str(archive), "--help"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout

    assert f"python {archive}" in " ".join(output.split())
    assert "pets, this archive" in output


def test_an_archive_makes_tokens_without_any_package(archive: Path) -> None:
    command = [sys.executable, "-I", "-S", str(archive), "token", "--scope", "predict"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout

    assert [line.partition(":")[0] for line in output.splitlines()] == ["token", "line"]


ALL_INTERFACES = "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize(
    ("host", "warnings"), [(ALL_INTERFACES, 1), ("192.168.1.5", 1), ("127.0.0.1", 0), ("::1", 0), ("localhost", 0)]
)
def test_a_server_that_others_can_reach_warns_once(
    archive: Path, host: str, warnings: int, capsys: pytest.CaptureFixture[str]
) -> None:
    make_guard(parse_options(["--host", host], "server", archive))

    assert capsys.readouterr().err.count("without --tokens: anyone reaching this port") == warnings


def test_an_archive_names_the_missing_packages(archive: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(archive), "--cache", str(tmp_path / "cache")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)

    assert result.returncode == 2
    (error,) = result.stderr.splitlines()
    assert "missing in" in error
    other_packages = "uvicorn httptools python-multipart numpy torch pillow pyyaml pydantic safetensors"
    assert error.endswith(f"{sys.executable} -m pip install starlette==1.2.3 {other_packages}")


@pytest.mark.slow
def test_concurrent_starts_extract_an_archive_once(archive: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: unpack(archive, cache), range(8)))

    (folder,) = folders
    assert list(cache.iterdir()) == [folder]
    assert (folder / "MAR-INF" / "MANIFEST.json").read_text() == "{}"
    assert unpack(folder, cache) == folder


def test_another_archive_of_the_same_name_has_another_folder(archive: Path, tmp_path: Path) -> None:
    first = unpack(archive, tmp_path / "cache")
    with zipfile.ZipFile(archive, "a") as mar:
        mar.writestr("more", "")

    assert unpack(archive, tmp_path / "cache") != first


def test_unused_extractions_are_removed_except_the_latest(archive: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    in_use = unpack(archive, cache)
    unused = [cache / f"{number:032x}" for number in range(5)]
    partial, recent_partial, unrelated = cache / f"{in_use.name}.half", cache / f"{in_use.name}.new", cache / "notes"
    for folder in (*unused, partial, recent_partial, unrelated):
        (folder / "handler").mkdir(parents=True)
    for age, folder in enumerate([*unused, in_use, partial, unrelated]):
        os.utime(folder, (1_000_000 - age, 1_000_000 - age))

    assert set(sweep(cache)) == {*unused[3:], partial}

    assert set(cache.iterdir()) == {in_use, *unused[:3], recent_partial, unrelated}


def test_an_extraction_is_in_use_until_its_process_ends(archive: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    program = "import sys; from pathlib import Path; from handler.servers.asgi.unpack import unpack\n"
    program += "print(unpack(Path(sys.argv[1]), Path(sys.argv[2])), flush=True)\n"
    # The process that runs an archive becomes another program, as `python FILE.mar` does.
    program += "import os; os.execv(sys.executable, [sys.executable, '-c', 'input()'])"
    command = [sys.executable, "-c", program, str(archive), str(cache)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        for number in range(3):
            (cache / f"{number:032x}").mkdir()
        os.utime(folder, (0, 0))
        assert sweep(cache) == []
        process.communicate("\n", timeout=TIMEOUT_S)

    assert sweep(cache) == [folder]


def test_an_extraction_is_private_and_refused_if_others_may_write(archive: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = unpack(archive, cache)
    assert [path.stat().st_mode & 0o077 for path in (cache, folder)] == [0, 0]
    folder.chmod(0o777)

    with pytest.raises(UnpackError, match="other users may write to this folder"):
        unpack(archive, cache)


@pytest.mark.parametrize("content", [b"nothing", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_not_an_archive_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mar"
    path.write_bytes(content)

    with pytest.raises(UnpackError, match=r"a\.mar: not a model archive"):
        unpack(path, tmp_path / "cache")

    assert list((tmp_path / "cache").iterdir()) == []


def test_a_port_in_use_is_reported_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert main(["--model", f"fake={write_fake_archive(tmp_path / 'fake')}", "--port", str(port)]) == 1

    assert f"port {port}" in capsys.readouterr().err


def test_options_cannot_be_abbreviated() -> None:
    with pytest.raises(OptionError):
        parse("--por", "1", archive=Path("a.mar"))

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from scripts.server import CONFIG, Ports, Server, ServerError, start
from scripts.server.__main__ import main
from scripts.server.launch import environment
from scripts.server.properties import endpoint, with_ports
from scripts.server.run_folder import EARLIER_LOGS, lock, new_logs
from scripts.server.running import remove_leftovers
from tests.support import ROOT


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def test_only_ports_and_the_metrics_path_differ_from_config_properties() -> None:
    original = properties(CONFIG.read_text())

    rewritten = properties(with_ports(CONFIG.read_text(), Ports(1, 2, 3, 4, 5)))

    assert {name: value for name, value in rewritten.items() if original[name] != value} == {
        "inference_address": "http://127.0.0.1:1",
        "management_address": "http://127.0.0.1:2",
        "metrics_address": "http://127.0.0.1:3",
        "grpc_inference_port": "4",
        "grpc_management_port": "5",
        "metrics_config": str(ROOT / "metrics.yaml"),
    }


def test_config_properties_has_the_default_ports() -> None:
    assert properties(with_ports(CONFIG.read_text(), Ports.from_base(8080))) | {"metrics_config": ""} == properties(
        CONFIG.read_text()
    ) | {"metrics_config": ""}


def test_every_address_is_loopback() -> None:
    addresses = [value for name, value in properties(CONFIG.read_text()).items() if name.endswith("_address")]

    assert len(addresses) == 5
    assert all(address.removeprefix("http://").startswith("127.0.0.1") for address in addresses)


@pytest.mark.parametrize("base", [0, 80, 65532])
def test_a_port_out_of_range_is_refused(base: int) -> None:
    with pytest.raises(ServerError, match=f"PORT {base} must be from 1024 to 65531"):
        Ports.from_base(base)


def test_a_port_in_use_is_reported_before_anything_starts(tmp_path: Path) -> None:
    archive = tmp_path / "a.mar"
    archive.touch()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ports = Ports(listener.getsockname()[1], *list(vars(Ports.free()).values())[1:])

        with pytest.raises(ServerError, match=f"port {ports.inference} is in use"):
            start(archive, ports, tmp_path / "run")


def test_a_server_that_ends_at_once_is_reported_with_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = tmp_path / "bin" / "torchserve"
    launcher.parent.mkdir()
    launcher.write_text("#!/bin/sh\necho no such luck\nexit 3\n")
    launcher.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(launcher.parent / "python"))
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str((tmp_path / prefix).absolute()))
    (tmp_path / "deeplab-").mkdir()
    archive = tmp_path / "a.mar"
    archive.touch()

    with pytest.raises(ServerError, match=r"ended at once, with exit code 3\nno such luck"):
        start(archive, Ports.free(), tmp_path / "run")

    assert not (tmp_path / "deeplab-").exists()


def test_a_missing_archive_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"a\.mar: no such archive; `make package` builds it"):
        start(tmp_path / "a.mar", Ports.free(), tmp_path / "run")


def test_archives_with_the_same_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "dogs.mar").touch()

    with pytest.raises(ServerError, match=r"b/dogs\.mar: its model would be 'dogs', like that of .*a/dogs\.mar;"):
        start(
            tmp_path / "a/dogs.mar", Ports.free(), tmp_path / "run", software="asgi", other_archives=[tmp_path / "b/dogs.mar"]
        )


def test_archives_of_two_folders_are_refused_for_torchserve(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "dogs.mar").touch()
    (tmp_path / "b/cats.mar").touch()

    with pytest.raises(ServerError, match=r"cats\.mar: must be in .*, because TorchServe"):
        start(tmp_path / "dogs.mar", Ports.free(), tmp_path / "run", other_archives=[tmp_path / "b/cats.mar"])


def test_a_server_of_several_models_is_found_with_all_of_them(tmp_path: Path) -> None:
    process = psutil.Process()
    server = Server(process.pid, process.create_time(), Ports.free(), "a", tmp_path, tmp_path / "t", others=("b", "c"))
    server.save()

    assert Server.find(tmp_path) == server


def test_a_stopped_server_is_not_found(tmp_path: Path) -> None:
    stopped = Server(pid=2**22 - 1, started=0, ports=Ports.free(), model="m", run_directory=tmp_path, temporary=tmp_path / "t")
    stopped.save()

    assert Server.find(tmp_path) is None


@pytest.mark.parametrize("state", ["", "{}", '{"pid": 1, "ports": {}, "temporary": "/"}', '{"pid": 1, "ports": null}', "[]"])
def test_an_invalid_state_file_is_reported(tmp_path: Path, state: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state.json").write_text(state)

    assert main(["--run-directory", str(tmp_path), "stop"]) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'state.json'}: does not describe a server")
    assert "remove this file" in error


def test_free_ports_are_reserved_for_the_server() -> None:
    ports = Ports.free()

    assert ports.in_use() == []
    with socket.create_server(("127.0.0.1", ports.inference)):  # It sets SO_REUSEADDR, as TorchServe does.
        assert ports.in_use() == [ports.inference]
    if sys.platform == "linux":
        with socket.socket() as contender, pytest.raises(OSError, match="in use"):
            contender.bind(("127.0.0.1", ports.inference))


def test_stopping_without_a_server_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run-directory", str(tmp_path), "stop"]) == 0
    assert capsys.readouterr().out == "no server runs\n"


def test_a_servers_environment_cannot_hide_the_archives_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("TS_CONFIG_FILE", "/elsewhere/config.properties")

    variables = environment(tmp_path / "temporary", tmp_path / "logs")

    assert not {"PYTHONPATH", "TS_CONFIG_FILE"} & variables.keys()
    assert variables["TMPDIR"] == variables["TEMP"] == str(tmp_path / "temporary")


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--server", "asgi", "--tokns", "x"], ["--tokns", "--help"]),
        (["--server", "asgi", "--allow-origin", "app.example.org"], ["'app.example.org'", "https://"]),
        (["--tokens", "x"], ["--tokens", "--server asgi"]),
    ],
)
def test_an_option_that_the_server_lacks_is_refused(
    tmp_path: Path, options: list[str], fragments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mar").touch()
    port = str(Ports.free().inference)

    assert (
        main(["--run-directory", str(tmp_path), "start", "--archive", str(tmp_path / "a.mar"), "--port", port, *options]) == 2
    )

    error = capsys.readouterr().err
    assert [fragment for fragment in fragments if fragment not in error] == []


def test_a_server_with_tls_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports, temporary = Ports.free(), tmp_path / "t"
    server = Server(1, 0, ports, "m", tmp_path, temporary, "asgi", "::1", tmp_path / "server.pem")
    server.save()
    monkeypatch.setattr(Server, "process", lambda _: True)

    assert server.url == f"https://[::1]:{ports.inference}/predictions/m"
    assert Server.find(tmp_path) == server


def test_the_token_command_is_that_of_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--scope", "operate", "--name", "ops"]) == 0
    assert "\nline:  ops operate sha256:" in capsys.readouterr().out
    assert main(["token", "--scope", "rule"]) == 2
    assert "'rule'" in capsys.readouterr().err
    assert main(["stop", "--scope", "operate"]) == 2


def test_stopping_our_server_waits_for_accepted_requests_and_reports_it(tmp_path: Path) -> None:
    console = tmp_path / "logs" / "console.log"
    console.parent.mkdir()
    program = "import signal, sys, time; signal.sigwait({signal.SIGTERM}); print(sys.argv[1], flush=True); time.sleep(1.5)"
    program = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); print('{', flush=True); " + program
    # The log begins with a line cut off by a full disk.
    with console.open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", program, '{"event":"draining","unfinished":2}'], stdout=log)
    while not console.read_text():
        time.sleep(0.01)
    server = Server(
        process.pid, psutil.Process(process.pid).create_time(), Ports.free(), "m", tmp_path, tmp_path / "t", software="asgi"
    )
    messages: list[str] = []

    server.stop(messages.append)

    assert process.wait() == 0
    assert messages == [
        f"waiting for 2 requests that the server has accepted, 150 s at most; `kill {process.pid}` ends it at once"
    ]


def test_a_server_whose_state_cannot_be_saved_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[subprocess.Popen[bytes]] = []

    def launch(*_: object) -> tuple[int, float]:
        launched.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        return launched[0].pid, psutil.Process(launched[0].pid).create_time()

    monkeypatch.setattr("scripts.server.launch.launch_asgi", launch)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    (tmp_path / "a.mar").touch()
    (tmp_path / "run" / "state.json.part").mkdir(parents=True)

    with pytest.raises(OSError, match=r"state\.json\.part"):
        start(tmp_path / "a.mar", Ports.free(), tmp_path / "run", software="asgi")

    assert launched[0].wait(10) is not None
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_any_scheme_and_host_gets_its_port_and_paths_become_absolute(scheme: str) -> None:
    text = f"inference_address={scheme}://0.0.0.0\nmanagement_address={scheme}://[::1]:9\nkeystore=keys/server.p12\n"

    rewritten = properties(with_ports(text, Ports(1, 2, 3, 4, 5)))

    assert rewritten == {
        "inference_address": f"{scheme}://0.0.0.0:1",
        "management_address": f"{scheme}://[::1]:2",
        "keystore": str(ROOT / "keys" / "server.p12"),
    }


def test_torchserves_key_and_certificate_are_read_from_its_settings(tmp_path: Path) -> None:
    settings = "inference_address=https://0.0.0.0:1\ncertificate_file=/c.pem\ndisable_token_authorization=false\n"
    (tmp_path / "config.properties").write_text(settings)

    before = endpoint(tmp_path, "inference", Ports(1, 2, 3, 4, 5))
    (tmp_path / "key_file.json").write_text('{"inference": {"key": "abc"}, "management": {"key": "def"}}')
    after = endpoint(tmp_path, "inference", Ports(1, 2, 3, 4, 5))

    assert (before.url, before.certificate, before.key) == ("https://127.0.0.1:1", Path("/c.pem"), None)
    assert after.key == "abc"
    assert endpoint(tmp_path, "management", Ports(1, 2, 3, 4, 5)).url == "http://127.0.0.1:2"


def test_a_limited_number_of_earlier_logs_is_kept(tmp_path: Path) -> None:
    for number in range(EARLIER_LOGS + 3):
        logs = new_logs(tmp_path)
        assert list(logs.iterdir()) == []
        (logs / "ts_log.log").write_text(str(number))

    newest = EARLIER_LOGS + 2
    logs_by_folder = {path.name: (path / "ts_log.log").read_text() for path in tmp_path.iterdir()}
    assert logs_by_folder == {"logs": str(newest)} | {f"logs.{age}": str(newest - age) for age in range(1, EARLIER_LOGS + 1)}


def test_a_second_start_waits_for_the_first(tmp_path: Path) -> None:
    order = []

    def start_second() -> None:
        with lock(tmp_path):
            order.append("second")

    with ThreadPoolExecutor() as pool, lock(tmp_path):
        pool.submit(start_second)
        time.sleep(0.05)
        order.append("first")

    assert order == ["first", "second"]


def test_files_of_a_killed_server_are_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    temporary = tmp_path / "deeplab-leftover"
    temporary.mkdir()
    stopped = Server(pid=2**22 - 1, started=0, ports=Ports.free(), model="m", run_directory=tmp_path, temporary=temporary)
    stopped.save()

    assert main(["--run-directory", str(tmp_path), "stop"]) == 0

    assert f"no server runs; removed {temporary}" in capsys.readouterr().out
    assert not temporary.exists()
    assert not (tmp_path / "state.json").exists()


def test_a_folder_of_unknown_origin_is_not_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    Server(pid=2**22 - 1, started=0, ports=Ports.free(), model="m", run_directory=tmp_path, temporary=precious).save()

    assert remove_leftovers(tmp_path) is None
    assert precious.exists()


def test_a_losing_start_keeps_the_winners_state(tmp_path: Path) -> None:
    winner = Server(2**22 - 1, 0, Ports.free(), "m", tmp_path, tmp_path / "deeplab-a")
    loser = Server(2**22 - 2, 0, Ports.free(), "m", tmp_path, tmp_path / "deeplab-b")
    winner.save()

    loser.stop()

    assert "deeplab-a" in (tmp_path / "state.json").read_text()


def test_a_run_folder_without_a_server_is_not_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run-directory", str(tmp_path), "ready"]) == 1
    assert capsys.readouterr().out == "not ready: no server runs\n"

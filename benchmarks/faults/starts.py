"""Faults of the machine, each with a separate server: disks, clocks, archives, double starts, long logs."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from benchmarks.faults.exchanges import Address, Tally
from benchmarks.faults.scenarios import Outcome, Plan, Subject, load, recover, until_ended, until_loaded, worker_processes
from scripts.server import Ports, Server, ServerError, Software, serving

#: Holds the temporary files of either server and some logs, but little more.
_SMALL_DISK = "64m"
_CLOCK = "LIBFAKETIME"
_CLOCK_LIBRARIES = "/usr/lib/*/faketime/libfaketime.so.1"
_HOUR_S, _DAY_S = 3600, 86400
_START_TIMEOUT_S = 180


@dataclass(frozen=True)
class Setting:
    """What to serve, with which server, and a working folder."""

    software: Software
    archive: Path
    photograph: bytes
    folder: Path

    def subject(self, server: Server) -> Subject:
        return Subject(server, Address(server.ports.inference, f"/predictions/{server.model}", self.photograph))

    @contextmanager
    def serving(self, run_directory: Path | None = None) -> Iterator[Subject]:
        """Yield a separate server that is READY."""
        folder = run_directory or self.folder / "run"
        with serving(self.archive, Ports.free(), folder, software=self.software) as server:
            yield self.subject(server)


async def kill_server(setting: Setting, plan: Plan) -> Outcome:
    """Kill the whole server with SIGKILL while requests run, then restart it, as an operator would."""
    tally, run = Tally(), setting.folder / "run"
    with setting.serving() as subject:
        async with load(subject.address, plan, tally):
            await until_loaded(tally)
            process = subject.server.process()
            if process is not None:
                process.kill()
        start = time.monotonic()
        with serving(setting.archive, Ports.free(), run, software=setting.software) as restarted:
            recovery = await recover(setting.subject(restarted).address)
        recovery = None if recovery is None else time.monotonic() - start
        leftovers = "nothing left behind" if not subject.server.temporary.exists() else "temporary files left behind"
    logs = "earlier log kept" if (run / "logs.1").is_dir() else "earlier log lost"
    return Outcome("kill -9 of the server", tally, recovery, note=f"{logs}, {leftovers}")


async def fill_disk(setting: Setting, plan: Plan) -> Outcome:
    """Fill the disk that holds logs and temporary files, kill the worker, and make room again."""
    tally = Tally()
    with mounted(setting.folder / "disk") as disk, temporary_files(disk), setting.serving(disk / "run") as subject:
        with suppress(OSError), (disk / "filler").open("wb") as filler:
            while True:
                filler.write(bytes(1 << 16))
                filler.flush()
        async with load(subject.address, plan, tally):
            await until_loaded(tally)
            for worker in await asyncio.to_thread(worker_processes, subject.server):
                worker.kill()
            recovery = await recover(subject.address)
        free = shutil.disk_usage(disk).free
        (disk / "filler").unlink()
        await Tally().send(subject.address)
        logs = sum(path.stat().st_size for path in (disk / "run" / "logs").iterdir())
    return Outcome("disk full, worker killed", tally, recovery, note=f"{free:,} bytes free meanwhile, {logs:,} of logs after")


async def read_only_store(setting: Setting, plan: Plan) -> Outcome:
    """Serve an archive from a read-only file system."""
    tally = Tally()
    with mounted(setting.folder / "store") as store:
        archive = Path(shutil.copy(setting.archive, store))
        subprocess.run(["mount", "-o", "remount,ro", store], check=True)
        with replace(setting, archive=archive).serving() as subject:
            async with load(subject.address, plan, tally):
                pass
            return Outcome("read-only store", tally, await recover(subject.address))


async def corrupt_archive(setting: Setting, plan: Plan) -> Outcome:
    """Start with an archive whose weights have flipped bytes, and measure the seconds until it is refused."""
    del plan
    content = bytearray(setting.archive.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    broken = setting.folder / setting.archive.name
    broken.write_bytes(content)
    start, note = time.monotonic(), "served"
    try:
        with replace(setting, archive=broken).serving():
            pass
    except ServerError as error:
        note = f"refused: {_reason(str(error)).replace(f'{broken}: ', '')}"
    return Outcome("corrupt archive", Tally(), time.monotonic() - start, note=note)


def _reason(text: str) -> str:
    """Return the line that names Java's exception, or else the message without the log's path; at most 160 characters."""
    lines = text.split("\n(")[0].split("\n")
    return " ".join(next(([line] for line in lines if "Exception" in line), lines))[-160:].strip()


async def step_clock(setting: Setting, plan: Plan) -> Outcome:
    """Set the server's clock an hour ahead, then two days back, while requests run."""
    library = _clock_library()
    if library is None:
        return Outcome("clock steps", Tally(), 0.0, note=f"not run: no libfaketime; ${_CLOCK} names the library")
    tally, clock = Tally(), setting.folder / "clock"
    clock.write_text("+0")
    with faked_clock(library, clock), setting.serving() as subject:
        async with load(subject.address, plan, tally):
            for number, step in enumerate((_HOUR_S, -2 * _DAY_S), 1):
                await until_ended(tally, plan.clients * plan.requests * number // 3)
                clock.write_text(f"{step:+d}")
        return Outcome("clock steps", tally, await recover(subject.address))


async def start_twice(setting: Setting, plan: Plan) -> Outcome:
    """Start two servers at the same moment in one folder, stop them, and look for leftover processes."""
    del plan
    run, start = setting.folder / "run", time.monotonic()
    command = [sys.executable, "-m", "scripts.server", "--run-directory", str(run)]
    options = ["--archive", str(setting.archive), "--server", setting.software]
    launchers = [
        subprocess.Popen(
            [*command, "start", *options, "--port", str(Ports.free().inference)], stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    messages = [launcher.communicate(timeout=_START_TIMEOUT_S)[1] for launcher in launchers]
    seconds, server = time.monotonic() - start, Server.find(run)
    family = [server.pid, *(worker.pid for worker in worker_processes(server))] if server else []
    subprocess.run([*command, "stop"], check=True, stdout=subprocess.DEVNULL)
    codes = sorted(launcher.returncode for launcher in launchers)
    survivors = sum(psutil.pid_exists(pid) for pid in family)
    refusal = next((text.strip() for text in messages if text.strip()), "")[:60]
    note = f"exit codes {codes[0]} and {codes[1]} ({refusal}…); {survivors} processes after stop"
    return Outcome("two starts at once", Tally(), seconds, note=note)


async def fill_logs(setting: Setting, plan: Plan) -> Outcome:
    """Send pings until the log has a line for each of very many requests."""
    tally, pipelined = Tally(), _PIPELINED[setting.software]
    with setting.serving() as subject:
        await asyncio.gather(*(_send_pipelined(subject, tally, plan.log_lines // 8 // pipelined, pipelined) for _ in range(8)))
        recovery = await recover(subject.address)
        logs = [path for path in (subject.server.run_directory / "logs").iterdir() if path.is_file()]
        size = sum(path.stat().st_size for path in logs)
    note = f"{len(logs)} files of {size / 1e6:.1f} MB in all, {size / max(1, tally.sent):.0f} bytes a request"
    return Outcome(f"a day of {plan.log_lines:,} lines", tally, recovery, note=note)


async def _send_pipelined(subject: Subject, tally: Tally, batches: int, batch_size: int) -> None:
    """Send `batches` times `batch_size` pipelined requests over one connection, and reconnect when it breaks."""
    while batches > 0:
        reader, writer = await asyncio.open_connection("127.0.0.1", subject.address.port)
        unanswered = 0
        with suppress(OSError, EOFError):
            while batches > 0:
                batches, unanswered = batches - 1, batch_size
                writer.write(_PING * batch_size)
                tally.sent += batch_size
                while unanswered:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                    await reader.readexactly(int(head.partition("content-length:")[2].split("\r\n")[0]))
                    tally.status_counts[head.split()[1]] += 1
                    unanswered -= 1
        tally.lost += unanswered
        writer.close()


_PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: Pipelined requests per write. TorchServe answers only the first of several.
_PIPELINED: Mapping[Software, int] = {"asgi": 50, "torchserve": 1}


#: By name, in the order in which they run.
STARTS: dict[str, Callable[[Setting, Plan], Awaitable[Outcome]]] = {
    "killserver": kill_server,
    "disk": fill_disk,
    "readonly": read_only_store,
    "corrupt": corrupt_archive,
    "clock": step_clock,
    "twice": start_twice,
    "logs": fill_logs,
}
#: Faults that mount a file system.
NEED_ROOT = {"disk", "readonly"}


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Yield a small in-memory file system mounted at `folder`; needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def faked_clock(library: Path, clock: Path) -> Iterator[None]:
    """Shift the clock of processes started in the block by the seconds written in the file `clock`."""
    variables = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock)}
    variables |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    # This fix, which old C libraries need, makes every wait in Java return at once, and its threads spin.
    variables |= {"FAKETIME_FORCE_MONOTONIC_FIX": "0"}
    # The processes share a semaphore, which its creator removes on exit, so the creator must outlive all others.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=os.environ | variables) as keeper:
        while not Path(f"/dev/shm/sem.faketime_sem_{keeper.pid}").exists():  # noqa: S108
            time.sleep(0.01)
        with environment(variables | {"FAKETIME_SHARED": f"/faketime_sem_{keeper.pid} /faketime_shm_{keeper.pid}"}):
            yield


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that the block starts."""
    previous = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def temporary_files(folder: Path) -> Iterator[None]:
    """Make servers started in the block put their temporary files in `folder`."""
    previous, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = previous


def _clock_library() -> Path | None:
    path = os.environ.get(_CLOCK)
    return Path(path) if path else next(iter(sorted(Path("/").glob(_CLOCK_LIBRARIES[1:]))), None)

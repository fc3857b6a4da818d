"""A live server under thousands of valid and broken calls: every call is answered and nothing leaks."""

import csv
import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import psutil
import pytest
import requests
from PIL import Image

from scripts.server import Server
from tests.fuzz.calls import HttpCall, http_call
from tests.fuzz.outcomes import STATUSES, require_discreet
from tests.fuzz.recorder import Fuzz
from tests.live.client import TIMEOUT_S
from tests.live.memory import measure_idle_memory, require_low_memory
from tests.live.ray_server import RayServer

#: The number of requests after which memory only grows slowly: 503 MB after 200 requests of mixed sizes and formats, 544 MB
#: after 2,500, 562 MB after 9,000.
WARM_UP = 2500
#: The bytes by which a warm worker may grow.
MAX_GROWTH = 50 << 20
_MEASURE_EVERY = 250
_THREADS = 4
#: TorchServe logs its own stack trace for JSON or text that it cannot decode and passes on.
_UNDECODED = "input data. Forwarding encoded payload"


@dataclass(frozen=True)
class Worker:
    """The resources that one worker holds."""

    requests: int
    rss: int
    open_files: int
    connections: int
    threads: int

    @classmethod
    def of(cls, server: Server, count: int) -> "Worker":
        """Measure the server's worker at rest, after `count` requests."""
        process = psutil.Process(_pids(server)[0])
        resident = measure_idle_memory(process)
        return cls(count, resident, process.num_fds(), len(process.net_connections("all")), process.num_threads())


def test_fuzzing_leaks_neither_memory_nor_files_nor_connections(
    server: Server, fuzz: Fuzz, request: pytest.FixtureRequest
) -> None:
    total = request.config.getoption("--fuzz-requests")
    warm_up = min(WARM_UP, total // 2)
    workers, files, log = _pids(server), _list_files(server.temporary), _log(server)
    curve = []
    statuses: Counter[int] = Counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        begin = 0
        for end in sorted({warm_up, *range(_MEASURE_EVERY, total, _MEASURE_EVERY), total}):
            statuses.update(pool.map(lambda index: _send_and_check(server, fuzz, index), range(begin, end)))
            curve.append(Worker.of(server, end))
            begin = end
    _write(fuzz.folder / "memory.csv", curve)

    warm = next(worker for worker in curve if worker.requests >= warm_up)
    assert _pids(server) == workers
    assert curve[-1].rss - warm.rss < MAX_GROWTH, curve
    assert curve[-1].open_files <= warm.open_files, curve
    assert curve[-1].connections <= warm.connections, curve
    assert _list_files(server.temporary) == files
    require_low_memory(server)
    new_log = _log(server).removeprefix(log)
    assert "ERROR" not in new_log
    assert "CRITICAL" not in new_log
    assert new_log.count("Traceback") == new_log.count(_UNDECODED)
    assert {200, 400} <= set(statuses)


def _send_and_check(server: Server, fuzz: Fuzz, index: int) -> int:
    """Send call `index`, check its answer and return the status."""
    call = http_call(Random(f"{fuzz.seed}/{index}"), server.model)  # noqa: S311 (nothing here is secret)
    response = _send(server, call)
    context = f"seed {fuzz.seed}, call {index}: {response.status_code} {response.content[:300]!r}"
    if response.status_code == 200:
        assert _is_decodable(response), context
    else:
        # TorchServe itself rejects some paths, versions and characters, with different statuses.
        assert response.status_code in STATUSES or 400 <= response.status_code < 500, context
        # An error of KServe v2 has the keys of an answer too.
        assert {"code", "type", "message"} <= set(response.json()), context
        require_discreet(response.json()["message"])
    return response.status_code


def _send(server: Server, call: HttpCall) -> requests.Response:
    url = server.url.split("/predictions")[0] + call.path
    return requests.request("POST", url, headers=call.headers, timeout=TIMEOUT_S, **call.content)


def _is_decodable(response: requests.Response) -> bool:
    kind = response.headers["content-type"]
    if kind == "application/json":
        return bool(response.json())
    if kind.startswith("image/"):
        Image.open(io.BytesIO(response.content)).load()
    return bool(response.content)


def _pids(server: Server) -> list[int]:
    return [int(str(worker["pid"])) for worker in server.workers()]


def _list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def _log(server: Server) -> str:
    """Return the worker's log; the asgi server's worker writes to the log of its server."""
    if isinstance(server, RayServer):
        return server.replica_log().read_text(errors="replace")
    name = "model_log.log" if server.software == "torchserve" else "console.log"
    return (server.run_directory / "logs" / name).read_text(errors="replace")


def _write(path: Path, curve: list[Worker]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, list(asdict(curve[0])))
        rows.writeheader()
        rows.writerows(asdict(worker) for worker in curve)

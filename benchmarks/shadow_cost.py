"""Measure what a shadow costs the answered requests: processor time and latency, alternating with and without a shadow.

python -m benchmarks.shadow_cost --archive build/model-store/deeplabv3.mar --shares 0.1,1

A server without a shadow and one for each share run at the same time; one client sends blocks of requests to each in turn, so
that other load on the machine slows all alike. The shadow is a copy of the same model.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil
import requests

from benchmarks.serving.sized_photographs import camera_jpeg
from scripts.arguments import Parser, existing_file, number, positive_int
from scripts.errors import report_errors
from scripts.server import Ports, Server, serving

_PHOTOGRAPH = (491, 640)
#: Requests in a block, and seconds for the shadow to finish its copies after it.
_BLOCK, _IDLE_S = 8, 1.0
_TIMEOUT_S = 120


@dataclass
class MeasuredServer:
    """One server, and the seconds that its blocks of requests took."""

    server: Server
    share: float
    latencies: list[float] = field(default_factory=list)
    #: Processor time of the front process and the worker that answers.
    answering: float = 0.0
    #: Processor time of the shadow's worker.
    shadowing: float = 0.0

    def measure_block(self, photograph: bytes) -> None:
        """Send a block of requests, one after the other, and wait until the shadow is idle."""
        workers = [int(str(worker["pid"])) for worker in self.server.workers()]
        answering, shadowing = [self.server.pid, workers[0]], workers[1:]
        before = processor_time(answering), processor_time(shadowing)
        for _ in range(_BLOCK):
            start = time.monotonic()
            requests.post(self.server.url, data=photograph, timeout=_TIMEOUT_S).raise_for_status()
            self.latencies.append(time.monotonic() - start)
        time.sleep(_IDLE_S)
        self.answering += processor_time(answering) - before[0]
        self.shadowing += processor_time(shadowing) - before[1]


def processor_time(pids: Sequence[int]) -> float:
    """Return the processor time that processes have used, over all threads, in seconds."""
    cpu_times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(times.user + times.system for times in cpu_times)


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    photograph = camera_jpeg(_PHOTOGRAPH)
    with ExitStack() as stack:
        servers = [_serve(stack, arguments.archive, share) for share in (0.0, *arguments.shares)]
        for server in servers:
            server.measure_block(photograph)  # Warms up the kernels.
            server.latencies, server.answering, server.shadowing = [], 0.0, 0.0
        for round_number in range(arguments.rounds):
            for server in servers if round_number % 2 else reversed(servers):
                server.measure_block(photograph)
    print(table(servers))
    return 0


def _serve(stack: ExitStack, archive: Path, share: float) -> MeasuredServer:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    shadows = [Path(shutil.copy(archive, folder / "shadow.mar"))] if share else []
    options = ("--shadow", f"{archive.stem}=shadow:{share:g}") if share else ()
    server = serving(archive, Ports.free(), folder / "run", software="asgi", options=options, other_archives=shadows)
    return MeasuredServer(stack.enter_context(server), share)


def table(servers: Sequence[MeasuredServer]) -> str:
    """Return a table with a line per server; the first has no shadow, and the others are relative to it."""
    baseline = servers[0]
    headings = ("share", "processor time of an answer", "of its shadow", "median latency", "beside the blocks without")
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for server in servers:
        requests_sent = len(server.latencies)
        cells = (
            f"{server.share:g}",
            f"{1000 * server.answering / requests_sent:.1f} ms ({server.answering / baseline.answering:.3f})",
            f"{1000 * server.shadowing / requests_sent:.1f} ms",
            f"{1000 * median(server.latencies):.0f} ms",
            f"{median(latency / base for latency, base in zip(_blocks(server), _blocks(baseline), strict=True)):.3f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _blocks(server: MeasuredServer) -> list[float]:
    """Return the median latency of each block."""
    return [median(server.latencies[start : start + _BLOCK]) for start in range(0, len(server.latencies), _BLOCK)]


def _parser() -> Parser:
    parser = Parser("python -m benchmarks.shadow_cost", __doc__)
    parser.add_argument("--archive", type=existing_file, required=True, metavar="FILE", help="the archive to serve")
    parser.add_argument(
        "--shares", type=_shares, default=[0.1, 1.0], metavar="SHARE,...", help="shares of requests, 0 to 1 (0.1,1)"
    )
    parser.add_argument("--rounds", type=positive_int, default=12, metavar="N", help="blocks of 8 requests each (%(default)s)")
    return parser


def _shares(text: str) -> list[float]:
    return [number(0.001, 1)(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())

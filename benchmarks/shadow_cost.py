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
_BLOCK, _REST_S = 8, 1.0
_TIMEOUT_S = 120


@dataclass
class Turns:
    """One server, and the seconds that its blocks of requests took."""

    server: Server
    share: float
    latencies: list[float] = field(default_factory=list)
    #: Processor time of the front process and the worker that answers.
    answering: float = 0.0
    #: Processor time of the shadow's worker.
    shadowing: float = 0.0

    def take(self, photograph: bytes) -> None:
        """Send a block of requests, one after the other, and wait until the shadow is idle."""
        workers = [int(str(worker["pid"])) for worker in self.server.workers()]
        answering, shadowing = [self.server.pid, workers[0]], workers[1:]
        before = processor_time(answering), processor_time(shadowing)
        for _ in range(_BLOCK):
            began = time.monotonic()
            requests.post(self.server.url, data=photograph, timeout=_TIMEOUT_S).raise_for_status()
            self.latencies.append(time.monotonic() - began)
        time.sleep(_REST_S)
        self.answering += processor_time(answering) - before[0]
        self.shadowing += processor_time(shadowing) - before[1]


def processor_time(pids: Sequence[int]) -> float:
    """Return the processor time that processes have used, over all threads, in seconds."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(one.user + one.system for one in times)


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    photograph = camera_jpeg(_PHOTOGRAPH)
    with ExitStack() as stack:
        turns = [_serve(stack, arguments.archive, share) for share in (0.0, *arguments.shares)]
        for one in turns:
            one.take(photograph)  # Warms up the kernels.
            one.latencies, one.answering, one.shadowing = [], 0.0, 0.0
        for number_of_round in range(arguments.rounds):
            for one in turns if number_of_round % 2 else reversed(turns):
                one.take(photograph)
    print(table(turns))
    return 0


def _serve(stack: ExitStack, archive: Path, share: float) -> Turns:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    others = [Path(shutil.copy(archive, folder / "shadow.mar"))] if share else []
    options = ("--shadow", f"{archive.stem}=shadow:{share:g}") if share else ()
    started = serving(archive, Ports.free(), folder / "run", software="asgi", options=options, other_archives=others)
    return Turns(stack.enter_context(started), share)


def table(turns: Sequence[Turns]) -> str:
    """Return a table with a line per server; the first has no shadow, and the others are relative to it."""
    alone = turns[0]
    headings = ("share", "processor time of an answer", "of its shadow", "median latency", "beside the blocks without")
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for one in turns:
        requests_sent = len(one.latencies)
        cells = (
            f"{one.share:g}",
            f"{1000 * one.answering / requests_sent:.1f} ms ({one.answering / alone.answering:.3f})",
            f"{1000 * one.shadowing / requests_sent:.1f} ms",
            f"{1000 * median(one.latencies):.0f} ms",
            f"{median(beside / without for beside, without in zip(_blocks(one), _blocks(alone), strict=True)):.3f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _blocks(one: Turns) -> list[float]:
    """Return the median latency of each block."""
    return [median(one.latencies[start : start + _BLOCK]) for start in range(0, len(one.latencies), _BLOCK)]


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

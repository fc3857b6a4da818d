"""Send mixed requests to both servers for an hour, and record memory, descriptors and latency.

python -m benchmarks.soak --archive build/model-store/deeplabv3.mar
python -m benchmarks.soak --archive build/model-store/deeplabv3.mar --minutes 40 --rate 2 --servers asgi

The servers run side by side, so their latencies are not comparable with those of a single server. After each interval a CSV per
server, soak.png and soak.md are written into build/soak. Exits with 1 if a request failed or was lost, or if an idle worker
held more than 650 MB.
"""

import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

from benchmarks.soak.picture import draw
from benchmarks.soak.samples import Sample, write_csv
from benchmarks.soak.soaking import Plan, soak
from scripts.arguments import Parser, existing_file, number, some_of
from scripts.errors import report_errors
from scripts.server import Software

_ROOT = Path(__file__).parents[2]
#: Megabytes that an idle worker of the default model may hold.
MAX_IDLE_MEMORY_MB = 650.0


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments, stop = _parser().parse_args(argv), threading.Event()
    # The servers end with the threads that started them.
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    runs = run(arguments, stop)
    print(as_markdown(runs))
    return 0 if all(map(is_sound, runs.values())) else 1


def run(arguments: Namespace, stop: threading.Event) -> dict[Software, list[Sample]]:
    """Soak the chosen servers side by side, write the samples after each interval, and return them."""
    plan = Plan(arguments.archive, arguments.minutes * 60, arguments.rate, arguments.interval)
    runs: dict[Software, list[Sample]] = {software: [] for software in arguments.servers}
    lock = threading.Lock()
    arguments.out.mkdir(parents=True, exist_ok=True)

    def follow(software: Software) -> None:
        try:
            for sample in soak(software, plan, stop):
                with lock:
                    runs[software].append(sample)
                    _write(arguments.out, runs)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(len(runs)) as pool:
        futures = [pool.submit(follow, software) for software in runs]
    for future in futures:
        future.result()
    return runs


def is_sound(samples: Sequence[Sample]) -> bool:
    """Return whether no request failed or was lost, the worker never restarted, and its idle memory stayed in bounds."""
    failures = sum(sample.failed + sample.lost for sample in samples)
    restarts = len({sample.worker for sample in samples}) - 1
    return not failures and not restarts and max(_idle_memory(samples)) <= MAX_IDLE_MEMORY_MB


def as_markdown(runs: Mapping[Software, Sequence[Sample]]) -> str:
    """Return a table with a line per server."""
    headings = (
        *("server", "minutes", "answered", "refused", "5xx", "lost", "worker at rest, first → last (most)", "peak"),
        *("worker's descriptors", "front, first → last", "front's descriptors"),
    )
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for software, samples in runs.items():
        if not samples:
            continue
        first, last, idle_memory = samples[0], samples[-1], _idle_memory(samples)
        cells = (
            *(software, f"{last.elapsed / 60:.0f}"),
            *(f"{sum(getattr(sample, name) for sample in samples):,}" for name in ("ok", "refused", "failed", "lost")),
            f"{idle_memory[0]:.0f} → {idle_memory[-1]:.0f} ({max(idle_memory):.0f}) MB",
            f"{max(sample.worker_peak for sample in samples):.0f} MB",
            f"{first.worker_descriptors} → {last.worker_descriptors}",
            f"{first.front_memory:.0f} → {last.front_memory:.0f} MB",
            f"{first.front_descriptors} → {last.front_descriptors}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _idle_memory(samples: Sequence[Sample]) -> list[float]:
    return [sample.worker_memory for sample in samples]


def _write(folder: Path, runs: Mapping[Software, Sequence[Sample]]) -> None:
    for software, samples in runs.items():
        write_csv(folder / f"{software}.csv", samples)
    draw(folder / "soak.png", {software: samples for software, samples in runs.items() if samples}, MAX_IDLE_MEMORY_MB)
    (folder / "soak.md").write_text(as_markdown(runs))


def _parser() -> Parser:
    parser = Parser("python -m benchmarks.soak", __doc__)
    add, positive = parser.add_argument, number(0.01, 1e6)
    add("--archive", type=existing_file, required=True, metavar="FILE", help="the archive to serve")
    add("--out", type=Path, default=_ROOT / "build" / "soak", metavar="DIR", help="folder for tables and picture (build/soak)")
    add("--minutes", type=positive, default=60.0, metavar="N", help="duration (%(default)g)")
    add("--rate", type=positive, default=10.0, metavar="N", help="most requests a second to each server (%(default)g)")
    add("--interval", type=positive, default=30.0, metavar="SECONDS", help="between two samples (%(default)g)")
    names = get_args(Software)
    add("--servers", type=some_of(names), default=names, metavar="NAME,...", help=f"only these, of {', '.join(names)}")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Measure this bundle beside TorchServe's own segmentation handler, both live, and every part of a request.

python -m benchmarks.serving
python -m benchmarks.serving --sections engines,starts --repetitions 2
python -m benchmarks.serving --small

Writes bench.md, bench.json and bench.png into build/bench and prints the tables. Runs on Linux.
"""

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.serving.benchmark_plan import FULL, SMALL
from benchmarks.serving.endpoint import UnexpectedAnswer
from benchmarks.serving.run_benchmark import run_benchmark
from benchmarks.serving.sections import SECTIONS
from model.strict import ConfigurationError, nearest
from scripts.java import JavaNotFound
from scripts.server import ServerError

ROOT = Path(__file__).parents[2]


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if sys.platform != "linux":
        print("the benchmark needs Linux: it reads the memory of processes from /proc", file=sys.stderr)
        return 1
    plan = SMALL if arguments.small else FULL
    if arguments.repetitions is not None:
        plan = replace(plan, rounds=arguments.repetitions)
    try:
        print(run_benchmark(plan, arguments.sections, arguments.out))
    except (ConfigurationError, JavaNotFound, ServerError, UnexpectedAnswer) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=description)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for table, JSON and picture")
    parser.add_argument(
        "--small", action="store_true", help="small networks and photographs, once each; the figures mean nothing"
    )
    parser.add_argument(
        "--sections",
        type=_sections,
        default=tuple(SECTIONS),
        metavar="NAME,...",
        help=f"run only these of {', '.join(SECTIONS)}",
    )
    parser.add_argument("--repetitions", type=_count, metavar="N", help="rounds; each measures every side once")
    return parser


def _sections(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in SECTIONS:
            raise argparse.ArgumentTypeError(f"unknown section {name!r}{nearest(name, SECTIONS)}")
    return names


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


if __name__ == "__main__":
    # SystemExit lets the servers and processes that it started end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())

"""Measure this bundle beside TorchServe's own segmentation handler, both live, and everything that a request consists of.

python -m benchmarks.serving
python -m benchmarks.serving --sections engines,starts --repetitions 2
python -m benchmarks.serving --small

Writes bench.md, bench.json and bench.png into build/bench; the table is printed too. On Linux.
"""

# Processes that are measured import this module too (multiprocessing's spawn), so what only this one needs is imported where
# it is used.
import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(argv: list[str] | None = None) -> int:
    from benchmarks.serving.benchmark_plan import FULL, SMALL
    from benchmarks.serving.endpoint import WrongAnswer
    from benchmarks.serving.run_benchmark import run
    from model.strict import ConfigurationError
    from scripts.java import JavaNotFound
    from scripts.server import ServerError

    arguments = _parser().parse_args(argv)
    if sys.platform != "linux":
        print("the benchmark runs on Linux: peak memory is read from /proc", file=sys.stderr)
        return 1
    plan = SMALL if arguments.small else FULL
    if arguments.repetitions is not None:
        plan = replace(plan, rounds=arguments.repetitions)
    try:
        print(run(plan, arguments.sections, arguments.out))
    except (ConfigurationError, JavaNotFound, ServerError, WrongAnswer) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    from benchmarks.serving.sections import SECTIONS

    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for table, JSON and picture")
    parser.add_argument("--small", action="store_true", help="small networks and photographs, once each: a trial, no figures")
    parser.add_argument(
        "--sections", type=_sections, default=tuple(SECTIONS), metavar="NAME,...", help=f"only these of {', '.join(SECTIONS)}"
    )
    parser.add_argument("--repetitions", type=_count, metavar="N", help="rounds in which all sides are measured by turns")
    return parser


def _sections(text: str) -> tuple[str, ...]:
    from benchmarks.serving.sections import SECTIONS
    from model.strict import nearest

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
    # The servers and processes it started are to end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())

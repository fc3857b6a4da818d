"""Compare this bundle with TorchServe's own segmentation handler, both live, and measure every part of a request.

python -m benchmarks.serving
python -m benchmarks.serving --sections engines,starts --repetitions 2
python -m benchmarks.serving --small

Writes bench.md, bench.json and bench.png into build/bench and prints the tables. Runs on Linux.
"""

import signal
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.serving.benchmark_plan import FULL, SMALL
from benchmarks.serving.sections import SECTIONS
from scripts.arguments import Parser, positive_int, some_of
from scripts.errors import UserError, report_errors

ROOT = Path(__file__).parents[2]


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if sys.platform != "linux":
        raise UserError("the benchmark needs Linux: it reads the memory of processes from /proc")
    # Imports matplotlib, which would delay errors and --help.
    from benchmarks.serving.run_benchmark import run_benchmark

    plan = SMALL if arguments.small else FULL
    if arguments.repetitions is not None:
        plan = replace(plan, rounds=arguments.repetitions)
    print(run_benchmark(plan, arguments.sections, arguments.out))
    return 0


def _parser() -> Parser:
    parser = Parser("python -m benchmarks.serving", __doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for table, JSON and picture")
    parser.add_argument(
        "--small", action="store_true", help="run everything once with small inputs; the figures are meaningless"
    )
    sections = f"run only these sections, of {', '.join(SECTIONS)}"
    parser.add_argument("--sections", type=some_of(SECTIONS), default=tuple(SECTIONS), metavar="NAME,...", help=sections)
    parser.add_argument("--repetitions", type=positive_int, metavar="N", help="rounds; each measures every side once")
    return parser


if __name__ == "__main__":
    # SystemExit also ends the servers and processes that this program started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())

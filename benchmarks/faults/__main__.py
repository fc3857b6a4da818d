"""Inject faults into both servers under load, and count which requests were answered, refused and lost.

python -m benchmarks.faults --archive build/model-store/deeplabv3.mar
python -m benchmarks.faults --archive build/model-store/deeplabv3.mar --servers asgi --scenarios kill,terminate

python -m benchmarks.faults --archive build/model-store/deeplabv3.mar --faults short

Writes faults.md and faults.json into build/faults and prints the table. `short` sends few requests and skips the faults that
need separate servers; the full run takes about half an hour, most of it for a million log lines. The faults with full disks
and read-only file systems need root, to mount them; clock steps need libfaketime.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks.faults.exchanges import Address, Tally
from benchmarks.faults.report import as_markdown, as_rows
from benchmarks.faults.scenarios import SCENARIOS, SMALL, Outcome, Plan, Subject
from benchmarks.faults.starts import NEED_ROOT, STARTS, Setting
from benchmarks.serving.sized_photographs import camera_jpeg
from scripts.arguments import Parser, existing_file, one_of, positive_int, some_of, whole_number
from scripts.errors import report_errors
from scripts.server import Ports, Server, Software, serving

_ROOT = Path(__file__).parents[2]
_PHOTOGRAPH = (491, 640)


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    plan = SMALL if arguments.faults == "short" else Plan(requests=arguments.requests, log_lines=arguments.log_lines)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for software in arguments.servers:
        for row in as_rows(software, _outcomes(software, arguments, plan)):
            rows.append(row)
            # Written after each fault, so that an interrupted run keeps its results.
            (arguments.out / "faults.json").write_text(json.dumps(rows, indent=1) + "\n")
            (arguments.out / "faults.md").write_text(as_markdown(rows))
    print(as_markdown(rows))
    return 0


def _outcomes(software: Software, arguments: Namespace, plan: Plan) -> Iterator[Outcome]:
    photograph, scenarios = camera_jpeg(_PHOTOGRAPH), arguments.scenarios
    if any(name in scenarios for name in SCENARIOS):
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(arguments.archive, Ports.free(), Path(folder), software=software) as server,
        ):
            yield from run(server, scenarios, photograph, plan)
    for name in [] if arguments.faults == "short" else [name for name in STARTS if name in scenarios]:
        print(f"{software}: {name}", file=sys.stderr, flush=True)
        if name in NEED_ROOT and os.geteuid() != 0:
            yield Outcome(name, Tally(), 0.0, note="not run: only root can mount a file system")
            continue
        with tempfile.TemporaryDirectory() as folder:
            setting = Setting(software, arguments.archive, photograph, Path(folder))
            yield asyncio.run(STARTS[name](setting, plan))  # type: ignore[arg-type]


def run(server: Server, scenarios: Sequence[str], photograph: bytes, plan: Plan) -> Iterator[Outcome]:
    """Inject the faults of `scenarios` into `server`, and wait after each until it has recovered.

    Args:
        server: a server that is READY; `terminate` ends it.
        scenarios: names from `SCENARIOS`.
        photograph: the image file that every request sends.
        plan: the size of each fault.
    """
    subject = Subject(server, Address(server.ports.inference, f"/predictions/{server.model}", photograph))
    for name in [name for name in SCENARIOS if name in scenarios]:
        print(f"{server.software}: {name}", file=sys.stderr, flush=True)
        server.wait_until_ready()
        yield asyncio.run(SCENARIOS[name](subject, plan))  # type: ignore[arg-type]


def _parser() -> Parser:
    parser = Parser("python -m benchmarks.faults", __doc__)
    parser.add_argument("--archive", type=existing_file, required=True, metavar="FILE", help="the archive to serve")
    parser.add_argument("--out", type=Path, default=_ROOT / "build" / "faults", help="folder for table and JSON")
    text = "short: few requests, and only faults of one running server (%(default)s)"
    parser.add_argument("--faults", type=one_of(["all", "short"]), default="all", metavar="all | short", help=text)
    text = "requests of each of the 8 ordinary clients during a fault (%(default)s)"
    parser.add_argument("--requests", type=positive_int, default=Plan().requests, metavar="N", help=text)
    text = "requests that fill the log (%(default)s)"
    parser.add_argument("--log-lines", type=whole_number(400), default=Plan().log_lines, metavar="N", help=text)
    for option, names in (("servers", get_args(Software)), ("scenarios", (*SCENARIOS, *STARTS))):
        text = f"only these, of {', '.join(names)}"
        parser.add_argument(f"--{option}", type=some_of(names), default=names, metavar="NAME,...", help=text)
    return parser


if __name__ == "__main__":
    # SystemExit also ends the server that this program started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())

"""Put both servers through faults under load, and count which requests were answered, refused and lost.

python -m benchmarks.faults --archive build/model-store/deeplabv3.mar
python -m benchmarks.faults --archive build/model-store/deeplabv3.mar --servers asgi --scenarios kill,terminate

Writes faults.md and faults.json into build/faults and prints the table. Takes about two minutes.
"""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from benchmarks.faults.exchanges import Address
from benchmarks.faults.report import as_markdown, as_rows
from benchmarks.faults.scenarios import SCENARIOS, SMALL, Outcome, Plan, Subject
from benchmarks.serving.sized_photographs import camera_jpeg
from scripts.arguments import Parser, existing_file, some_of
from scripts.errors import report_errors
from scripts.server import Ports, Server, Software, serving

_ROOT = Path(__file__).parents[2]
_PHOTOGRAPH = (491, 640)


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    plan = SMALL if arguments.small else Plan()
    rows = []
    for software in arguments.servers:
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(arguments.archive, Ports.free(), Path(folder), software=software) as server,
        ):
            rows += as_rows(software, run(server, arguments.scenarios, camera_jpeg(_PHOTOGRAPH), plan))
    table = as_markdown(rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "faults.json").write_text(json.dumps(rows, indent=1) + "\n")
    (arguments.out / "faults.md").write_text(table)
    print(table)
    return 0


def run(server: Server, scenarios: Sequence[str], photograph: bytes, plan: Plan) -> Iterator[Outcome]:
    """Put `server` through `scenarios`, waiting after each until it has recovered.

    Args:
        server: is READY; `terminate` ends it.
        scenarios: names from `SCENARIOS`.
        photograph: an image file, which every request sends.
        plan: how much of each fault.
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
    parser.add_argument("--small", action="store_true", help="send fewer requests, for seconds instead of minutes")
    for option, names in (("servers", get_args(Software)), ("scenarios", tuple(SCENARIOS))):
        text = f"only these of {', '.join(names)}"
        parser.add_argument(f"--{option}", type=some_of(names), default=names, metavar="NAME,...", help=text)
    return parser


if __name__ == "__main__":
    # SystemExit lets the server that it started end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())

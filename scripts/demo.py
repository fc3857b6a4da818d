"""Serve the model, segment the sample photographs with curl, print the results, and stop the server.

python -m scripts.demo --archive build/model-store/deeplabv3.mar --out build/demo
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from scripts.arguments import Parser
from scripts.errors import UserError, report_errors
from scripts.samples import write_samples
from scripts.server import Ports, serving
from scripts.server.options import add_port, add_run_directory, add_server

#: Suffixes of the answers to each photograph, by format.
_FORMATS = {"png": ".png", "overlay": ".overlay.jpg", "json": ".json"}


def segment_with_curl(photo: Path, url: str, folder: Path) -> dict[str, Path]:
    """POST `photo` once per format, print each command, and return the files of the answers by format.

    Raises:
        UserError: curl meets an error, or the server answers with one; curl has said which.
    """
    written = {}
    for name, suffix in _FORMATS.items():
        written[name] = folder / f"{photo.stem}{suffix}"
        command = ["curl", "-sS", "--fail", "-X", "POST", "-T", str(photo), "-H", f"X-Segment-Format: {name}"]
        command += [url, "-o", str(written[name])]
        print(f"$ {shlex.join(command)}")
        if code := subprocess.run(command, check=False).returncode:
            raise UserError(f"curl ended with exit code {code}; its message is above")
    return written


def summary(photo: Path, written: dict[str, Path]) -> str:
    """Return a table of the classes in the photograph, then the paths of the answers."""
    answer = json.loads(written["json"].read_text())
    size = "{width}×{height}".format(**answer["image"])
    rows = [f"\n{photo.name}, {size}, by {answer['model']} {answer['version']}", f"  {'class':<14}{'share':>8}{'score':>8}"]
    rows += [f"  {s['label']:<14}{s['fraction']:>8.1%}{s['score']:>8.3f}" for s in answer["segments"]]
    rows += [f"  {name:<8} {path}" for name, path in written.items()]
    return "\n".join(rows)


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    photos = write_samples(arguments.samples)
    print(f"starting {arguments.server} with {arguments.archive} ...", flush=True)
    ports = Ports.from_base(arguments.port)
    with serving(arguments.archive, ports, arguments.run_directory, software=arguments.server) as server:
        print(f"READY at {server.url}", flush=True)
        summaries = [summary(photo, segment_with_curl(photo, server.url, arguments.out)) for photo in photos]
    print("\n".join(summaries))
    if server.page_url:
        print(f"\nthe server is stopped; `make serve SERVER=asgi` starts it to stay, with a page at {server.page_url}")
    else:
        print("\nthe server is stopped; `make serve` starts it to stay")
    return 0


def _parser() -> Parser:
    parser = Parser("python -m scripts.demo", __doc__)
    parser.add_argument("--archive", type=Path, required=True, metavar="FILE", help="model archive (.mar) to serve")
    parser.add_argument("--samples", type=Path, required=True, metavar="DIR", help="folder for the sample photographs")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the answers")
    add_server(parser)
    add_port(parser)
    add_run_directory(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Serve models, segment sample photographs with curl, print the results, and stop the server.

python -m scripts.demo --archive build/model-store/deeplabv3.mar --samples build/samples --out build/demo
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from scripts.arguments import Parser
from scripts.errors import UserError, report_errors
from scripts.samples import NAMES, NAMES_BY_MODEL, write_samples
from scripts.server import Ports, Server, serving
from scripts.server.options import add_archives, add_port, add_run_directory, add_server

#: File name suffixes of the answers, by format.
_FORMATS = {"png": ".png", "overlay": ".overlay.jpg", "json": ".json"}


def segment_with_curl(photo: Path, url: str, folder: Path) -> dict[str, Path]:
    """POST `photo` once per format, print each command, and return the answers' files by format.

    Raises:
        UserError: curl fails, or the server answers with an error; curl has printed which.
    """
    answers = {}
    for name, suffix in _FORMATS.items():
        answers[name] = folder / f"{photo.stem}{suffix}"
        command = ["curl", "-sS", "--fail", "-X", "POST", "-T", str(photo), "-H", f"X-Segment-Format: {name}"]
        command += [url, "-o", str(answers[name])]
        print(f"$ {shlex.join(command)}")
        if code := subprocess.run(command, check=False).returncode:
            raise UserError(f"curl ended with exit code {code}; its message is above")
    return answers


def summary(photo: Path, answers: dict[str, Path]) -> str:
    """Return a table of the classes in the photograph, followed by the answers' paths."""
    answer = json.loads(answers["json"].read_text())
    size = "{width}×{height}".format(**answer["image"])
    rows = [f"\n{photo.name}, {size}, by {answer['model']} {answer['version']}", f"  {'class':<14}{'share':>8}{'score':>8}"]
    rows += [f"  {s['label']:<14}{s['fraction']:>8.1%}{s['score']:>8.3f}" for s in answer["segments"]]
    rows += [f"  {name:<8} {path}" for name, path in answers.items()]
    return "\n".join(rows)


def segment_samples(server: Server, model: str, samples: Path, out: Path) -> list[str]:
    """Segment the photographs that suit `model`; return a summary of each. With several models, each gets a folder in `out`."""
    folder = out / model if len(server.models) > 1 else out
    folder.mkdir(parents=True, exist_ok=True)
    photos = write_samples(samples, NAMES_BY_MODEL.get(model, NAMES))
    return [summary(photo, segment_with_curl(photo, server.url_of(model), folder)) for photo in photos]


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    archive, *other_archives = arguments.archive
    print(f"starting {arguments.server} with {', '.join(map(str, arguments.archive))} ...", flush=True)
    ports = Ports.from_base(arguments.port)
    with serving(archive, ports, arguments.run_directory, software=arguments.server, other_archives=other_archives) as server:
        print(f"READY at {', '.join(map(server.url_of, server.models))}", flush=True)
        summaries = [
            text for model in server.models for text in segment_samples(server, model, arguments.samples, arguments.out)
        ]
    print("\n".join(summaries))
    page = server.page_url or f"http://127.0.0.1:{arguments.port}/"
    print("\nthe server is stopped; `make serve` starts it and keeps it running")
    print(f'see and compare masks on a page: `make serve SERVER=asgi MODELS="objects scenes streets"`, then open {page}')
    return 0


def _parser() -> Parser:
    parser = Parser("python -m scripts.demo", __doc__)
    add_archives(parser)
    parser.add_argument("--samples", type=Path, required=True, metavar="DIR", help="folder for the sample photographs")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the answers")
    add_server(parser)
    add_port(parser)
    add_run_directory(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

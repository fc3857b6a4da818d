"""Segment photographs with a running server: files, and folders with everything below them.

python -m scripts.segment PHOTOS --out masks
python -m scripts.segment PHOTOS more.jpg --format overlay --out overlays --option scales=0.75,1 --option classes=cat,dog
python -m scripts.segment PHOTOS --format json --out answers --url http://127.0.0.1:8080/predictions/deeplabv3 --jobs 8

The answer to PHOTOS/a/photo.jpg is DIR/a/photo.png. Existing answers are not requested again, so the same command
continues after an interruption and retries failed images.
"""

import sys
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Sequence
from pathlib import Path

from handler.answers import FORMATS
from handler.image.process import prepare_process
from model.atomic import write_atomically
from scripts.arguments import (
    Parser,
    add_request_options,
    collect_options,
    http_header,
    http_url,
    one_of,
    positive_int,
    seconds,
    whole_number,
)
from scripts.client import DEFAULT_RETRIES, DEFAULT_TIMEOUT_S, DEFAULT_URL, Client
from scripts.errors import FAILURE, INTERRUPTED, print_error, report_errors
from scripts.segment.answer_folder import AnswerFolder, Conditions
from scripts.segment.answer_images import image_reader
from scripts.segment.contact_sheet import NothingToDraw, draw_sheet
from scripts.segment.file_names import CONTACT_SHEET, FAILED
from scripts.segment.inputs import find_photographs
from scripts.segment.output_paths import Task, plan_answers
from scripts.segment.sending import Tally, segment_all
from scripts.server_access import ServerAccess, add_access_options

_FAILURES_SHOWN = 20
#: Form fields that are not options: the image is sent in one of them, and the format has its own argument.
_OTHER_FIELDS = {"data": "FILES", "image": "FILES", "body": "FILES", "format": "--format"}


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    folder = AnswerFolder(arguments.out, Conditions.from_request(arguments.url, arguments.format, arguments.option))
    client = Client(
        arguments.url,
        retries=arguments.retries,
        timeout_s=arguments.timeout,
        headers=dict(arguments.header),
        connections=arguments.jobs,
        access=ServerAccess.from_arguments(arguments),
    )
    folder.check_conditions()
    photographs = find_photographs(arguments.inputs, arguments.out)
    tasks = plan_answers(photographs, arguments.out, FORMATS[arguments.format].suffix, keep_suffix=arguments.keep_suffix)
    tally = segment_all(client, tasks, folder, jobs=arguments.jobs, overwrite=arguments.overwrite)
    _report(tally, arguments)
    if arguments.contact_sheet and not tally.end_reason:
        _draw_sheet(tasks, folder)
    return INTERRUPTED if tally.interrupted else FAILURE if tally.failed or tally.end_reason else 0


def _report(tally: Tally, arguments: Namespace) -> None:
    """Print a summary of the run; write the list of failures, or remove an old one."""
    path = arguments.out / FAILED
    failures = [f"{photograph}: {reason}" for photograph, reason in tally.failed.items()]
    if failures:
        write_atomically(path, "".join(f"{line}\n" for line in failures).encode(errors="surrogateescape"))
    elif not tally.end_reason:
        path.unlink(missing_ok=True)
    for line in failures[:_FAILURES_SHOWN]:
        print(line, file=sys.stderr)
    if len(failures) > _FAILURES_SHOWN:
        print(f"and {len(failures) - _FAILURES_SHOWN:,} more, listed in {path}", file=sys.stderr)
    print(tally)
    if tally.end_reason:
        print_error(tally.end_reason)


def _draw_sheet(tasks: Sequence[Task], folder: AnswerFolder) -> None:
    prepare_process()
    answered = [task for task in tasks if task.answer.exists()]
    read_answer = image_reader(folder.conditions.format)
    if read_answer is None:
        print(f"no contact sheet: {folder.conditions.format!r} answers contain no image")
    elif answered:
        try:
            draw_sheet(answered, read_answer, folder.root / CONTACT_SHEET, str(folder.conditions))
        except NothingToDraw as error:
            print(f"no contact sheet: {error}")
        else:
            print(f"contact sheet: {folder.root / CONTACT_SHEET}")


def _arguments(argv: list[str] | None) -> Namespace:
    arguments = _parser().parse_args(argv)
    arguments.option = collect_options(arguments.option, _OTHER_FIELDS)
    return arguments


def _parser() -> Parser:
    parser = Parser("python -m scripts.segment", __doc__)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE|DIR", help="images, and folders with images")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the answers")
    parser.add_argument("--url", type=http_url(DEFAULT_URL), default=DEFAULT_URL, help="a model's predictions (%(default)s)")
    parser.add_argument(
        "--format", type=one_of(FORMATS), default="png", metavar="NAME", help=f"{', '.join(FORMATS)} (%(default)s)"
    )
    add_request_options(parser, "option of the server")
    parser.add_argument(
        "--header", type=http_header, action="append", default=[], metavar="'NAME: VALUE'", help="such as a key; repeatable"
    )
    add_access_options(parser)
    parser.add_argument("--jobs", type=positive_int, default=4, metavar="N", help="requests in flight (%(default)s)")
    parser.add_argument(
        "--retries",
        type=whole_number(0),
        default=DEFAULT_RETRIES,
        metavar="N",
        help="retries of a request while the server is busy or the connection breaks (%(default)s)",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=DEFAULT_TIMEOUT_S, metavar="SECONDS", help="longest wait for a byte (%(default)g)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing answers")
    parser.add_argument("--keep-suffix", action="store_true", help="photo.jpg.png instead of photo.png")
    parser.add_argument(
        "--contact-sheet", action=BooleanOptionalAction, default=True, help=f"{CONTACT_SHEET} of photographs and answers"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

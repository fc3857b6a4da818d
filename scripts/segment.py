"""Segment photographs by a running server: files, and folders with all below them.

python -m scripts.segment PHOTOS --out masks
python -m scripts.segment PHOTOS more.jpg --format overlay --out overlays --option scales=0.75,1 --option classes=cat,dog
python -m scripts.segment PHOTOS --format json --out answers --url http://127.0.0.1:8080/predictions/deeplabv3 --jobs 8

The answer to PHOTOS/a/photo.jpg is DIR/a/photo.png. What is there already is not asked for again, so the same command goes on
after an interruption, and tries again what failed.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from handler.answers import FORMATS
from model.atomic import write_atomically
from model.strict import nearest
from scripts.client import DEFAULT_RETRIES, DEFAULT_TIMEOUT_S, DEFAULT_URL, AnswerError, Client
from scripts.segmenting.answers import AnswerFolder, Conditions
from scripts.segmenting.errors import SegmentingError
from scripts.segmenting.names import CONTACT_SHEET, FAILED
from scripts.segmenting.photographs import find_photographs
from scripts.segmenting.pictures import picture_reader
from scripts.segmenting.plan import Task, plan
from scripts.segmenting.run import Tally, run
from scripts.segmenting.sheet import NoPictures, draw_sheet

_FAILURES_SHOWN = 20
_INTERRUPTED = 130  # As a shell says that Ctrl-C ended a program.
#: Form fields that are no options: the image goes by one, the format by an argument.
_NO_OPTIONS = {"data": "FILES", "image": "FILES", "body": "FILES", "format": "--format"}


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    folder = AnswerFolder(arguments.out, Conditions.of(arguments.url, arguments.format, dict(arguments.option)))
    client = Client(
        arguments.url,
        retries=arguments.retries,
        timeout_s=arguments.timeout,
        headers=dict(arguments.header),
        connections=arguments.jobs,
    )
    try:
        folder.require_same_conditions()
        photographs = find_photographs(arguments.inputs, arguments.out)
        tasks = plan(photographs, arguments.out, FORMATS[arguments.format].suffix, keep_suffix=arguments.keep_suffix)
        tally = run(client, tasks, folder, jobs=arguments.jobs, overwrite=arguments.overwrite)
        _report(tally, arguments)
        if arguments.contact_sheet and not tally.ended:
            _draw_sheet(tasks, folder)
    except AnswerError as error:
        print(f"{client.url}: {error}", file=sys.stderr)
        return 1
    except SegmentingError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return _INTERRUPTED if tally.interrupted else 1 if tally.failed or tally.ended else 0


def _report(tally: Tally, arguments: argparse.Namespace) -> None:
    """Print how the run went, and write the list of what failed, or remove one that no longer holds."""
    path = arguments.out / FAILED
    failures = [f"{photograph}: {reason}" for photograph, reason in tally.failed.items()]
    if failures:
        write_atomically(path, "".join(f"{line}\n" for line in failures).encode(errors="surrogateescape"))
    elif not tally.ended:
        path.unlink(missing_ok=True)
    for line in failures[:_FAILURES_SHOWN]:
        print(line, file=sys.stderr)
    if len(failures) > _FAILURES_SHOWN:
        print(f"and {len(failures) - _FAILURES_SHOWN:,} more, listed in {path}", file=sys.stderr)
    print(tally)
    if tally.ended:
        print(f"{arguments.url}: {tally.ended}", file=sys.stderr)


def _draw_sheet(tasks: Sequence[Task], folder: AnswerFolder) -> None:
    answered = [task for task in tasks if task.answer.exists()]
    read = picture_reader(folder.conditions.format)
    if read is None:
        print(f"no contact sheet: answers as {folder.conditions.format!r} hold no picture")
    elif answered:
        try:
            draw_sheet(answered, read, folder.root / CONTACT_SHEET, str(folder.conditions))
        except NoPictures as error:
            print(f"no contact sheet: {error}")
        else:
            print(f"contact sheet: {folder.root / CONTACT_SHEET}")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = _parser()
    arguments = parser.parse_args(argv)
    names = [name for name, _ in arguments.option]
    for name in names:
        if name in _NO_OPTIONS:
            parser.error(f"--option {name}: is no option; give {_NO_OPTIONS[name]}")
        if names.count(name) > 1:
            parser.error(f"--option {name}: is there more than once")
    return arguments


def _parser() -> argparse.ArgumentParser:
    first, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.segment",
        description=first,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILES-OR-FOLDERS", help="images, or folders with some")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the answers")
    parser.add_argument("--url", type=_url, default=DEFAULT_URL, help="of a model's predictions (%(default)s)")
    parser.add_argument("--format", type=_format, default="png", help=f"{', '.join(FORMATS)} (%(default)s)")
    parser.add_argument(
        "--option",
        type=_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the server's; repeatable",
    )
    parser.add_argument(
        "--header", type=_header, action="append", default=[], metavar="'NAME: VALUE'", help="such as a key's; repeatable"
    )
    parser.add_argument("--jobs", type=_at_least(1), default=4, metavar="N", help="requests in flight (%(default)s)")
    parser.add_argument(
        "--retries", type=_at_least(0), default=DEFAULT_RETRIES, metavar="N", help="of one that fails in passing (%(default)s)"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=DEFAULT_TIMEOUT_S, metavar="SECONDS", help="without an answer (%(default)g)"
    )
    parser.add_argument("--overwrite", action="store_true", help="ask again for what is there already")
    parser.add_argument("--keep-suffix", action="store_true", help="photo.jpg.png instead of photo.png")
    parser.add_argument(
        "--contact-sheet", action=argparse.BooleanOptionalAction, default=True, help=f"{CONTACT_SHEET} in the folder"
    )
    return parser


def _url(text: str) -> str:
    try:
        parts = parse_url(text)
    except LocationParseError:
        parts = parse_url("")
    if parts.scheme not in ("http", "https") or not parts.host:
        raise argparse.ArgumentTypeError(f"{text!r}: must be like {DEFAULT_URL}")
    return text


def _format(text: str) -> str:
    if text not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} does not exist{nearest(text, FORMATS)}")
    return text


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: must be NAME=VALUE, such as scales=0.75,1")
    return name.strip().lower(), value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not name.strip() or not colon or not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r}: must be 'NAME: VALUE', such as 'Authorization: Bearer KEY'")
    return name.strip(), value.strip()


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, {least} or more")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of seconds above 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())

"""Segment many images with a model archive, without a server: on this machine, or on a Ray cluster.

python -m scripts.bulk photos --archive build/model-store/deeplabv3.mar --out masks
python -m scripts.bulk photos 'more/**/*.jpg' list.csv --archive MODEL.mar --out masks --format png,coco --merge coco
python -m scripts.bulk s3://bucket/photos --archive MODEL.mar --out s3://bucket/masks --option scales=0.75,1 --jobs 8
python -m scripts.bulk images.parquet --list-column image --archive MODEL.mar --out masks --engine ray --address auto
python -m scripts.bulk --raster town.tif --archive MODEL.mar --out masks --format labels,gpkg

The answer to photos/a/photo.jpg is OUT/a/photo.png, with the same bytes that the server would send. OUT/manifest holds Parquet
files with a row for each image. The same command continues after an interruption and only processes new and changed images.
`--raster --help` lists the options for rasters.
"""

import signal
import sys
from itertools import takewhile

from scripts.arguments import Parser, add_request_options, collect_options, one_of, some_of
from scripts.bulk.executors.engines import add_engine_options, add_model_options, make_executor
from scripts.errors import FAILURE, INTERRUPTED, UserError, print_error, report_errors

#: Request fields that have separate arguments here.
_OTHER_FIELDS = {"data": "SOURCE", "image": "SOURCE", "body": "SOURCE", "format": "--format", "image_name": "the images' names"}
_MERGE_FORMATS = ("coco", "parquet")
_PROGRAM, _RASTER = "python -m scripts.bulk", "--raster"


@report_errors
def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if _RASTER in (before := list(takewhile(lambda word: word != "--", words))):
        from scripts.rasters.command import run

        return run([word for word in before if word != _RASTER] + words[len(before) :], f"{_PROGRAM} {_RASTER}")
    arguments = _parser().parse_args(words)
    options = collect_options(arguments.option, _OTHER_FIELDS)
    executor = make_executor(arguments)
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError("the package pyarrow is not installed; install the extra: pip install '.[bulk]'") from error
    # Not at the top: worker processes import this file too, before they ignore Ctrl-C.
    from scripts.bulk.command import run_command

    tally = run_command(arguments, options, executor)
    tally.print_failures(f"{arguments.out}/manifest")
    print(tally)
    if tally.end_reason:
        print_error(tally.end_reason)
    return INTERRUPTED if tally.interrupted else FAILURE if tally.failed or tally.failed_before or tally.end_reason else 0


def _parser() -> Parser:
    from handler.answers import FORMATS

    parser = Parser(_PROGRAM, __doc__)
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="images, folders, patterns, lists (.txt, .csv, .parquet), or URLs of them"
    )
    add_model_options(parser)
    parser.add_argument(
        "--out", required=True, metavar="DEST", help="folder for the answers, or a URL such as s3://bucket/masks"
    )
    parser.add_argument(
        "--format", type=some_of(FORMATS), default=("png",), metavar="NAME,...", help=f"{', '.join(FORMATS)} (png)"
    )
    add_request_options(parser, "option of the server, such as scales=0.75,1")
    add_engine_options(parser)
    parser.add_argument("--list-column", metavar="NAME", help="column of a list with the paths, URLs or files")
    parser.add_argument("--name-column", metavar="NAME", help="column of a list that names the answers")
    parser.add_argument(
        "--merge", type=one_of(_MERGE_FORMATS), metavar="NAME", help="one data set of all answers at the end: coco or parquet"
    )
    parser.add_argument("--keep-suffix", action="store_true", help="photo.jpg.png instead of photo.png")
    parser.add_argument("--retry-failed", action="store_true", help="retry images that failed or ended their process")
    parser.add_argument("--overwrite", action="store_true", help="start over: replace existing answers")
    # Never parsed by this parser: `main` looks for it first.
    parser.add_argument(
        _RASTER, action="store_true", help="georeferenced rasters of any size, with separate options: docs/rasters.md"
    )
    return parser


def _exit(signum: int, _: object) -> None:
    sys.exit(128 + signum)


if __name__ == "__main__":
    # SystemExit lets the manifest be written and the processes stop.
    signal.signal(signal.SIGTERM, _exit)
    sys.exit(main())

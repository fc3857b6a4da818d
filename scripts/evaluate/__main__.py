"""Score a model against ground truth at the images' original sizes, as it would be served.

python -m scripts.evaluate CHECKPOINT.safetensors --data FOLDER
python -m scripts.evaluate ARCHIVE.mar --data FOLDER --split val --out build/evaluation
python -m scripts.evaluate --url http://127.0.0.1:8080/predictions/deeplabv3 --data FOLDER
python -m scripts.evaluate CHECKPOINT.safetensors --data FOLDER --scales 0.75,1,1.25 --flip --output-stride 8
python -m scripts.evaluate CHECKPOINT.safetensors --data annotations/val.json --images PHOTOGRAPHS
python -m scripts.evaluate CHECKPOINT.safetensors --data FOLDER --record "PASCAL VOC 2012 val"

Calibration is measured over pixels: expected calibration error (15 bins), and negative log-likelihood of the true classes. An
image's error is 1 - mIoU: AUROC measures how doubt separates images above the median error from the others, AURC is the area
under the risk-coverage curve (docs/doubt.md).

Means are over the classes that are labelled or predicted. If only background is labelled, there are no means and the exit code
is 1.

Options that are left out have the values used in serving: the handler's defaults for a checkpoint, the archive's settings for
an archive, the server's for a server.
"""

import sys
from argparse import ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from handler.network.engines import AUTO, ENGINES, Precision
from handler.option_types import Text
from handler.options import MAX_SCALE, MIN_SCALE, REFINEMENTS, InferenceOptions
from model.strict import ConfigurationError
from scripts.arguments import Parser, http_url, positive_int, whole_number
from scripts.client import DEFAULT_URL
from scripts.data_options import add_data_options
from scripts.errors import UsageError, report_errors
from scripts.server_access import add_access_options

#: Handler settings for which an option can replace the file's value.
_SETTINGS = ("output_stride", "engine", "precision")


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    # Not at the top: the import takes seconds, and wrong options should be reported at once.
    from scripts.evaluate.command import run_command

    run_command(arguments, {name: getattr(arguments, name) for name in _SETTINGS})
    return 0


def _arguments(argv: list[str] | None) -> Namespace:
    arguments = _parser().parse_args(argv)
    if (arguments.target is None) == (arguments.url is None):
        raise UsageError("give either a checkpoint or archive, or --url")
    if arguments.record and (arguments.target is None or arguments.target.suffix != ".safetensors"):
        raise UsageError(f"--record {arguments.record}: writes into a checkpoint, so give one (.safetensors)")
    for name in _SETTINGS:
        if getattr(arguments, name) is not None and arguments.url is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for a checkpoint or an archive; a server has its own")
    return arguments


def _option(name: str, advice: str) -> Callable[[str], Any]:
    """Return a type that parses a request option as the server does; `advice` says what would be right."""

    def parse(text: str) -> Any:
        try:
            return getattr(InferenceOptions.parse({name: Text(text)}, source=f"--{name}"), name)
        except ConfigurationError as error:
            raise ArgumentTypeError(f"{error}; {advice}") from error

    return parse


def _parser() -> Parser:
    parser = Parser("python -m scripts.evaluate", __doc__)
    parser.add_argument("target", nargs="?", type=Path, metavar="FILE", help="checkpoint (.safetensors) or archive (.mar)")
    parser.add_argument("--url", type=http_url(DEFAULT_URL), help=f"running server, instead of a file; such as {DEFAULT_URL}")
    add_access_options(parser)
    add_data_options(parser, purpose="labelled images", required=True)
    parser.add_argument("--split", metavar="NAME", help="split of the data, if it has several")
    scales = _option("scales", f"give numbers from {MIN_SCALE} to {MAX_SCALE}, such as 0.75,1,1.25")
    parser.add_argument("--scales", type=scales, metavar="N,...", help="average over these scales, such as 0.75,1,1.25")
    parser.add_argument("--flip", action=BooleanOptionalAction, help="also average over the mirror image")
    parser.add_argument("--tiles", type=positive_int, metavar="N", help="cut each image into N×N overlapping tiles")
    parser.add_argument("--refine", choices=REFINEMENTS, help="crf: refine the mask by a dense CRF")
    parser.add_argument(
        "--bands", type=_option("bands", "such as 4,3,2"), metavar="N,...", help="bands of a TIFF shown as red, green and blue"
    )
    parser.add_argument(
        "--range",
        type=_option("range", "such as 0,3000 or auto"),
        metavar="LO,HI",
        help="values of a TIFF shown as black and white; auto: by each image's percentiles",
    )
    parser.add_argument("--output-stride", type=int, choices=(8, 16), help="instead of the model's own")
    parser.add_argument("--engine", choices=[AUTO, *ENGINES], help="runs the network; torch in float32 is the reference")
    parser.add_argument("--precision", choices=get_args(Precision), help="number format of the network")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for scores.json, confusion.png and worst.html")
    parser.add_argument("--worst", type=whole_number(0), default=20, metavar="N", help="images in worst.html (%(default)s)")
    parser.add_argument("--record", metavar="NAME", help="write the scores into the checkpoint, as measured on data set NAME")
    return parser


if __name__ == "__main__":
    sys.exit(main())

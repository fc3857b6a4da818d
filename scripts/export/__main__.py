"""Export a model for another runtime or server, and compare the export with torch before it is written.

python -m scripts.export model/weights/NAME.safetensors --to onnx --out segmenter.onnx
python -m scripts.export model/weights/NAME.safetensors --to openvino --image street.jpg
python -m scripts.export build/model-store/deeplabv3.mar --to triton --out models
python -m scripts.export mine.safetensors --to ovms --out models --name rooms --version 2

Input: decoded uint8 RGB pixels of any size; normalization is part of the graph. Output: a label for each pixel, and logits.
Classes, palette, resize policy and calibration are in the file's metadata. An export that labels less than 99.99 % of pixels
like torch in float32 is not written. docs/export.md explains how to call each target, and what is lost.
"""

import sys
from argparse import Namespace
from pathlib import Path

from scripts.arguments import Parser, existing_file, one_of, positive_int
from scripts.errors import UsageError, report_errors
from scripts.export.destinations import DEFAULTS, REPOSITORIES


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    # Not at the top: the import takes seconds, and wrong options should be reported at once.
    from scripts.export.command import run_command

    run_command(arguments)
    return 0


def _arguments(argv: list[str] | None) -> Namespace:
    arguments = _parser().parse_args(argv)
    if arguments.to not in REPOSITORIES:
        for name in ("name", "version"):
            if (value := getattr(arguments, name)) is not None:
                raise UsageError(
                    f"--{name} {value}: is for model repositories; --to {arguments.to} writes a file, named by --out"
                )
    return arguments


def _parser() -> Parser:
    parser = Parser("python -m scripts.export", __doc__)
    parser.add_argument(
        "checkpoint", type=existing_file, metavar="CHECKPOINT", help="a checkpoint (.safetensors) or an archive (.mar)"
    )
    parser.add_argument("--to", type=one_of(DEFAULTS), required=True, metavar="TARGET", help=", ".join(DEFAULTS))
    defaults = ", ".join(default.format(name="NAME") for default in DEFAULTS.values())
    parser.add_argument("--out", type=Path, metavar="PATH", help=f"file, or folder of the model repository ({defaults})")
    parser.add_argument("--name", help="the model's name in a repository (the archive's or the checkpoint's)")
    parser.add_argument("--version", type=positive_int, metavar="N", help="the model's version in a repository (1)")
    parser.add_argument(
        "--image",
        type=existing_file,
        action="append",
        default=[],
        metavar="FILE",
        help="photograph on which the export is compared with torch; repeatable (scikit-image's astronaut)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Add an 8-bit integer graph to a checkpoint, for speed on CPUs, and measure the loss of accuracy.

python -m scripts.quantize CHECKPOINT.safetensors --calibration PHOTOGRAPHS --data LABELLED
python -m scripts.quantize CHECKPOINT.safetensors --calibration PHOTOGRAPHS

The result is served like any other checkpoint. It keeps the network's own weights too, for explanations, GPUs and
`precision: float32`. It is not written if it loses too much accuracy: mIoU on labelled data or, without such data, the share of
pixels that keep their label.
"""

import sys
from argparse import Namespace
from pathlib import Path

from scripts.arguments import Parser, existing_folder, fraction, number, positive_int
from scripts.data_options import add_data_options
from scripts.errors import UsageError, report_errors


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    # Not at the top: the import takes seconds, and wrong options should be reported at once.
    from scripts.quantize.command import run_command

    run_command(arguments)
    return 0


def _arguments(argv: list[str] | None) -> Namespace:
    arguments = _parser().parse_args(argv)
    for name in ("split", "images", "mask_values"):
        value = getattr(arguments, name)
        if value is not None and arguments.data is None:
            raise UsageError(f"--{name.replace('_', '-')} {value}: applies only to labelled data; give --data")
    for option, needs_data in (("max_drop", True), ("least_agreement", False)):
        if getattr(arguments, option) is not None and (arguments.data is not None) != needs_data:
            flag = "--" + option.replace("_", "-")
            raise UsageError(f"{flag} is for a comparison {'with' if needs_data else 'without'} true labels (--data)")
    return arguments


def _parser() -> Parser:
    parser = Parser("python -m scripts.quantize", __doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="safetensors checkpoint with metadata")
    parser.add_argument(
        "--calibration",
        type=existing_folder,
        required=True,
        metavar="DIR",
        help="photographs like those to be served; they need no labels",
    )
    parser.add_argument(
        "--photographs", type=positive_int, default=300, metavar="N", help="most photographs to calibrate on (%(default)s)"
    )
    add_data_options(parser, purpose="labelled images to measure mIoU on")
    parser.add_argument("--split", metavar="NAME", help="split of the data, if it has several")
    parser.add_argument(
        "--max-drop",
        type=number(0, 100, "points of mIoU"),
        metavar="POINTS",
        help="with --data: largest loss of mIoU, in percent (0.5)",
    )
    parser.add_argument(
        "--least-agreement",
        type=fraction,
        metavar="FRACTION",
        help="without --data: pixels that must keep their label (0.99)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="checkpoint to write (CHECKPOINT.int8.safetensors)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

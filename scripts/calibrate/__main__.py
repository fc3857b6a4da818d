"""Calibrate a checkpoint: fit the temperature that divides its logits, so that scores and confidence match its accuracy.

python -m scripts.calibrate CHECKPOINT.safetensors --data FOLDER
python -m scripts.calibrate CHECKPOINT.safetensors --data FOLDER --split val --out calibrated.safetensors

The data must be images that the network was not trained on. Only the checkpoint's metadata change: the weights and all
predicted labels stay the same. An earlier calibration is replaced. `scripts.train` calibrates its checkpoints itself.
"""

import sys
from argparse import Namespace
from pathlib import Path

from scripts.arguments import Parser
from scripts.data_options import add_data_options
from scripts.errors import UsageError, report_errors


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    # Not at the top: the import takes seconds, and wrong options should be reported at once.
    from scripts.calibrate.command import run_command

    run_command(arguments)
    return 0


def _arguments(argv: list[str] | None) -> Namespace:
    arguments = _parser().parse_args(argv)
    for path, option in ((arguments.checkpoint, ""), (arguments.out, "--out ")):
        if path is not None and path.suffix != ".safetensors":
            raise UsageError(f"{option}{path}: must be a checkpoint (.safetensors), to write the calibration into")
    return arguments


def _parser() -> Parser:
    parser = Parser("python -m scripts.calibrate", __doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="safetensors checkpoint with metadata")
    add_data_options(parser, purpose="labelled images that the network was not trained on", required=True)
    parser.add_argument("--split", metavar="NAME", help="split of the data, if it has several")
    parser.add_argument("--name", metavar="NAME", help="name of the data in the metadata (the folder's name and the split)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="checkpoint to write (CHECKPOINT itself)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

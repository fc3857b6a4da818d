"""Train a network and save its best-scoring state as a checkpoint that can be served.

python -m scripts.train --config NAME.yaml --data FOLDER
python -m scripts.train --config ... --processes 2     (one per GPU, or several on the CPU)
python -m scripts.train --config ... --resume          (after an interruption)
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.arguments import Parser, positive_int
from scripts.data_options import add_data_options
from scripts.errors import report_errors

if TYPE_CHECKING:
    from scripts.training.weights import CheckpointWeights


@report_errors
def main(argv: list[str] | None = None, *, weights: "CheckpointWeights | None" = None, program: str = "scripts.train") -> int:
    """Run the command line.

    Args:
        weights: reads the start weights and the teacher; by default both are checkpoints.
        program: the module that `python -m` runs, in every process that trains.
    """
    options = sys.argv[1:] if argv is None else argv
    arguments = _parser(program).parse_args(options)
    # Not at the top: the import takes seconds, and wrong options should be reported at once.
    from scripts.training.command import run_command

    return run_command(arguments, options, weights, program)


def _parser(program: str) -> Parser:
    parser = Parser(f"python -m {program}", __doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file; scripts/training/config.py lists its keys")
    add_data_options(parser, purpose="labelled images to train on")
    parser.add_argument("--start", type=Path, help="checkpoint to start from, instead of random weights")
    parser.add_argument("--teacher", type=Path, help="checkpoint whose predictions are learned from too (distillation)")
    parser.add_argument("--out", type=Path, help="folder of the run; build/runs/CONFIG if left out")
    parser.add_argument("--processes", type=positive_int, default=1, help="train in N processes, one per GPU or on the CPU")
    parser.add_argument("--resume", action="store_true", help="continue from the last state in the run's folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())

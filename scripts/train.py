"""Train a network and save the best of its evaluations as a checkpoint that can be served.

python -m scripts.train --config NAME.yaml --data FOLDER
python -m scripts.train --config ... --processes 2     (one per GPU, or several on the CPU)
python -m scripts.train --config ... --resume          (after an interruption)
"""

import os
import sys
from argparse import Namespace
from pathlib import Path

from handler.image.process import prepare_process
from scripts.arguments import Parser, positive_int
from scripts.datasets.options import add_data_options, data_source
from scripts.errors import INTERRUPTED, print_error, report_errors
from scripts.training.config import TrainingConfig
from scripts.training.processes import joined, spawn
from scripts.training.training_data import open_training_data
from scripts.training.training_run import Run
from scripts.training.weights import CheckpointWeights

ROOT = Path(__file__).parent.parent


@report_errors
def main(argv: list[str] | None = None, *, weights: CheckpointWeights | None = None, program: str = "scripts.train") -> int:
    """Run the command line.

    Args:
        weights: reads start weights and teacher; left out, they are checkpoints.
        program: the module that `python -m` runs, in every process that trains.
    """
    prepare_process()
    options = sys.argv[1:] if argv is None else argv
    arguments = _parser(program).parse_args(options)
    folder = arguments.out or ROOT / "build" / "runs" / arguments.config.stem
    checkpoint = folder / f"{folder.name}.safetensors"
    config = _configuration(arguments)
    if arguments.processes > 1 and "WORLD_SIZE" not in os.environ:
        spawn(arguments.processes, program, options)
    try:
        with joined() as processes:
            data = open_training_data(config, show_progress=processes.first)
            Run(config, data, processes, folder, checkpoint, weights=weights, resume=arguments.resume).train()
    except KeyboardInterrupt:
        print_error(f"interrupted; --resume continues from the last state in {folder}")
        return INTERRUPTED
    return 0


def _configuration(arguments: Namespace) -> TrainingConfig:
    """Read the configuration and apply the options that replace its values."""
    config = TrainingConfig.read(arguments.config)
    paths = {name: getattr(arguments, name) for name in ("start", "teacher")}
    source = config.data if arguments.data is None else data_source(arguments)
    if source is not None:
        source = source.with_options(arguments.images, arguments.mask_values)
    replaced = {**paths, "data": source}
    return config.model_copy(update={name: value for name, value in replaced.items() if value is not None})


def _parser(program: str) -> Parser:
    parser = Parser(f"python -m {program}", __doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file; scripts/training/config.py lists its keys")
    add_data_options(parser, purpose="labelled images to train on")
    parser.add_argument("--start", type=Path, help="checkpoint to start from, instead of random weights")
    parser.add_argument("--teacher", type=Path, help="checkpoint whose answers are learned from too (distillation)")
    parser.add_argument("--out", type=Path, help="folder of the run; build/runs/CONFIG if left out")
    parser.add_argument("--processes", type=positive_int, default=1, help="train in N processes, one per GPU or on the CPU")
    parser.add_argument("--resume", action="store_true", help="continue from the last state in the run's folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Train a network; the best of its evaluations becomes a checkpoint that can be served.

python -m scripts.train --config NAME.yaml --data FOLDER
python -m scripts.train --config ... --processes 2     (one for each GPU, or several on the CPU)
python -m scripts.train --config ... --resume          (after an interruption)
"""

import argparse
import os
import sys
from pathlib import Path

from handler.image.process import prepare_process
from model import CheckpointError
from model.strict import ConfigurationError
from scripts.datasets import DataError
from scripts.training.config import TrainingConfig
from scripts.training.processes import joined, spawn
from scripts.training.training_data import open_training_data
from scripts.training.training_run import Diverged, Run
from scripts.training.weights import CheckpointWeights

ROOT = Path(__file__).parent.parent


def main(argv: list[str] | None = None, *, weights: CheckpointWeights | None = None, program: str = "scripts.train") -> int:
    """Run the command line.

    Args:
        weights: reads start weights and teacher; left out, they are checkpoints.
        program: the module that `python -m` runs, in every process that trains.
    """
    options = sys.argv[1:] if argv is None else argv
    arguments = _parser(program).parse_args(options)
    folder = arguments.out or ROOT / "build" / "runs" / arguments.config.stem
    checkpoint = folder / f"{folder.name}.safetensors"
    try:
        config = _configuration(arguments)
        if arguments.processes > 1 and "WORLD_SIZE" not in os.environ:
            spawn(arguments.processes, program, options)
        with joined() as processes:
            data = open_training_data(config, show_progress=processes.first)
            Run(config, data, processes, folder, checkpoint, weights=weights, resume=arguments.resume).train()
    except (ConfigurationError, CheckpointError, DataError, Diverged, FileExistsError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; go on with --resume from the last state in {folder}", file=sys.stderr)
        return 130
    return 0


def _configuration(arguments: argparse.Namespace) -> TrainingConfig:
    """The file's, with what the command line says instead."""
    config = TrainingConfig.read(arguments.config)
    paths = {name: getattr(arguments, name) for name in ("data", "start", "teacher")}
    return config.model_copy(update={name: path for name, path in paths.items() if path is not None})


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: must be 1 or more")
    return number


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file; scripts/training/config.py says what it may hold"
    )
    parser.add_argument("--data", type=Path, help="folder in the layout of VOC, Cityscapes or images/ + masks/")
    parser.add_argument("--start", type=Path, help="checkpoint to start from, instead of random weights")
    parser.add_argument("--teacher", type=Path, help="checkpoint whose answers are learned from too (distillation)")
    parser.add_argument("--out", type=Path, help="folder of the run; build/runs/CONFIG if left out")
    parser.add_argument("--processes", type=_positive, default=1, help="that train together: one for each GPU, or on the CPU")
    parser.add_argument("--resume", action="store_true", help="go on from the last state in the run's folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())

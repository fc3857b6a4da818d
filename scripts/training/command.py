"""Run the command: train from a configuration, in one process or several."""

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from handler.image.process import prepare_process
from scripts.data_options import data_source
from scripts.errors import INTERRUPTED, print_error
from scripts.training.config import TrainingConfig
from scripts.training.processes import process_group, spawn
from scripts.training.training_data import open_training_data
from scripts.training.training_run import Run
from scripts.training.weights import CheckpointWeights

ROOT = Path(__file__).parents[2]


def run_command(arguments: Namespace, options: Sequence[str], weights: CheckpointWeights | None, program: str) -> int:
    """Train as requested on the command line; return the exit code.

    Args:
        arguments: the parsed `options`.
        options: the command-line arguments, passed on to other processes.
        weights: reads the start weights and the teacher; by default both are checkpoints.
        program: the module that `python -m` runs, in every process that trains.

    Raises:
        UserError, ConfigurationError, CheckpointError: the configuration, the data or the weights cannot be used.
    """
    prepare_process()
    folder = arguments.out or ROOT / "build" / "runs" / arguments.config.stem
    checkpoint = folder / f"{folder.name}.safetensors"
    config = _read_configuration(arguments)
    if arguments.processes > 1 and "WORLD_SIZE" not in os.environ:
        spawn(arguments.processes, program, options)
    try:
        with process_group() as processes:
            data = open_training_data(config, show_progress=processes.is_first)
            Run(config, data, processes, folder, checkpoint, weights=weights, resume=arguments.resume).train()
    except KeyboardInterrupt:
        print_error(f"interrupted; --resume continues from the last state in {folder}")
        return INTERRUPTED
    return 0


def _read_configuration(arguments: Namespace) -> TrainingConfig:
    """Read the configuration and apply the options that replace its values."""
    config = TrainingConfig.read(arguments.config)
    paths = {name: getattr(arguments, name) for name in ("start", "teacher")}
    source = config.data if arguments.data is None else data_source(arguments)
    if source is not None:
        source = source.with_options(arguments.images, arguments.mask_values)
    overrides = {**paths, "data": source}
    return config.model_copy(update={name: value for name, value in overrides.items() if value is not None})

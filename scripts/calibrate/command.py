"""Run the command: fit the temperature on labelled data and write it into a checkpoint."""

import shutil
from argparse import Namespace
from pathlib import Path

from handler.image.process import prepare_process
from handler.labels import Labels
from handler.limits import Limits
from handler.network.engines import AUTO, EngineOptions, ModelFiles, build_engine
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from model import CheckpointMetadata, read_metadata, replace_metadata
from scripts.calibrate.reliability import draw_reliability
from scripts.calibrate.temperature import calibrate_pipeline
from scripts.datasets import DataError, SegmentationData, check, describe_absence
from scripts.evaluate.scoring import open_labelled_data


def run_command(arguments: Namespace) -> None:
    """Calibrate the checkpoint that the command line names, and draw its reliability diagram.

    Args:
        arguments: parsed arguments of `python -m scripts.calibrate`.

    Raises:
        UserError, ConfigurationError, CheckpointError: the data or the checkpoint cannot be used.
    """
    prepare_process()
    source: Path = arguments.checkpoint
    out: Path = arguments.out or source
    metadata = read_metadata(source)
    data = _open_data(metadata, arguments)
    name = arguments.name or (f"{data.name} {arguments.split}" if arguments.split else data.name)
    result = calibrate_pipeline(_load_uncalibrated(source, metadata), data, name)
    if out != source:
        shutil.copyfile(source, out)
    replace_metadata(out, metadata.model_copy(update={"calibration": result.calibration}))
    diagram = out.with_suffix(".reliability.png")
    draw_reliability(diagram, result.curves, f"{out.stem} on {name}")
    print(f"{out}: {result}")
    print(f"the reliability diagram is {diagram}")


def _open_data(metadata: CheckpointMetadata, arguments: Namespace) -> SegmentationData:
    """Open the labelled data and check that they have the checkpoint's classes."""
    labels = Labels.from_metadata(metadata)
    data = open_labelled_data(arguments, labels)
    summary = check(data, len(labels.names), show_progress=True)
    if {index for index, pixels in enumerate(summary.pixels) if pixels} <= {labels.background}:
        raise DataError(f"{describe_absence(data, labels.names, summary)}. Without another class, there is no doubt to measure")
    return data


def _load_uncalibrated(checkpoint: Path, metadata: CheckpointMetadata) -> Pipeline:
    """Load the model as it is served, but with its network's uncalibrated probabilities."""
    engine = build_engine(AUTO, ModelFiles(checkpoint), EngineOptions(gpu_id=0))
    uncalibrated = metadata.model_copy(update={"calibration": None})
    return Pipeline(engine, uncalibrated, ModelIdentity(checkpoint.stem, ""), Limits())

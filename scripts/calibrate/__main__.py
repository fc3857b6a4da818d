"""Calibrate a checkpoint: fit the temperature its logits are divided by, so that scores and confidence mean what they say.

python -m scripts.calibrate CHECKPOINT.safetensors --data FOLDER
python -m scripts.calibrate CHECKPOINT.safetensors --data FOLDER --split val --out calibrated.safetensors

The data must be images that the network was not trained on. Only the checkpoint's metadata change: weights stay, and so does
every label. An earlier calibration is replaced. `scripts.train` calibrates what it trains by itself.
"""

import shutil
import sys
from argparse import Namespace
from pathlib import Path

from handler.image.process import prepare_process
from handler.labels import Labels
from handler.limits import Limits
from handler.network.engines import AUTO, EngineOptions, ModelFiles, build_engine
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from model import CheckpointMetadata, read_metadata, replace_metadata
from scripts.arguments import Parser
from scripts.calibrate.reliability import draw_reliability
from scripts.calibrate.temperature import calibrate_pipeline
from scripts.datasets import DataError, SegmentationData, check, describe_absence
from scripts.datasets.options import add_data_options
from scripts.errors import UsageError, report_errors
from scripts.evaluate.scoring import open_labelled_data


@report_errors
def main(argv: list[str] | None = None) -> int:
    prepare_process()
    arguments = _arguments(argv)
    source: Path = arguments.checkpoint
    out: Path = arguments.out or source
    metadata = read_metadata(source)
    data = _labelled(metadata, arguments)
    name = arguments.name or (f"{data.name} {arguments.split}" if arguments.split else data.name)
    result = calibrate_pipeline(_uncalibrated(source, metadata), data, name)
    if out != source:
        shutil.copyfile(source, out)
    replace_metadata(out, metadata.model_copy(update={"calibration": result.calibration}))
    diagram = out.with_suffix(".reliability.png")
    draw_reliability(diagram, result.curves, f"{out.stem} on {name}")
    print(f"{out}: {result}")
    print(f"the reliability diagram is {diagram}")
    return 0


def _arguments(argv: list[str] | None) -> Namespace:
    arguments = _parser().parse_args(argv)
    for path, option in ((arguments.checkpoint, ""), (arguments.out, "--out ")):
        if path is not None and path.suffix != ".safetensors":
            raise UsageError(f"{option}{path}: writes into a checkpoint, give one (.safetensors)")
    return arguments


def _labelled(metadata: CheckpointMetadata, arguments: Namespace) -> SegmentationData:
    """Open and check the labelled data, whose classes must be those of the checkpoint."""
    labels = Labels.from_metadata(metadata)
    data = open_labelled_data(arguments, labels)
    summary = check(data, len(labels.names), show_progress=True)
    if {index for index, pixels in enumerate(summary.pixels) if pixels} <= {labels.background}:
        raise DataError(f"{describe_absence(data, labels.names, summary)}. Without another class, probabilities tell no doubt")
    return data


def _uncalibrated(checkpoint: Path, metadata: CheckpointMetadata) -> Pipeline:
    """Load the model as it is served, but with the probabilities that its network gives."""
    engine = build_engine(AUTO, ModelFiles(checkpoint), EngineOptions(gpu_id=0))
    plain = metadata.model_copy(update={"calibration": None})
    return Pipeline(engine, plain, ModelIdentity(checkpoint.stem, ""), Limits())


def _parser() -> Parser:
    parser = Parser("python -m scripts.calibrate", __doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="safetensors checkpoint with metadata")
    add_data_options(parser, purpose="labelled images that the network was not trained on", required=True)
    parser.add_argument("--split", metavar="NAME", help="split of the data, if it has several")
    parser.add_argument("--name", metavar="NAME", help="what the metadata call the data (the folder's name and the split)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="checkpoint to write (CHECKPOINT itself)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Run the command: convert a model, compare the result with torch, then write it."""

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from handler.geometry import RGBImage
from handler.image.process import prepare_process
from scripts.export.comparison import compare
from scripts.export.destinations import DEFAULTS
from scripts.export.network import PixelsToLabels, describe, describe_tensors
from scripts.export.source import Source, open_source
from scripts.export.targets import TARGETS, Destination, Target
from scripts.image_files import read_image
from scripts.samples import NAMES, write_samples

ROOT = Path(__file__).parents[2]


def run_command(arguments: Namespace) -> None:
    """Export the model that the command line names.

    Args:
        arguments: parsed arguments of `python -m scripts.export`.

    Raises:
        UserError, ConfigurationError, CheckpointError: the model, a photograph or the destination cannot be used.
    """
    prepare_process()
    target = TARGETS[arguments.to]
    with open_source(arguments.checkpoint) as source:
        destination = _destination(arguments, source)
        target.check(destination)
        target.format.require_packages()
        path = export(source, target, destination, read_photographs(arguments.image))
        print(f"{path}: {arguments.to}")
        print(*describe_tensors(source.files.metadata()), sep="\n")


def export(source: Source, target: Target, destination: Destination, photographs: Sequence[RGBImage]) -> Path:
    """Convert a model, compare the result with torch on `photographs`, then write it; return the path to show.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ExportError: the export's labels differ from torch's; nothing is written.
    """
    checkpoint = source.files.load()
    metadata = checkpoint.metadata
    if metadata.quantization is not None:
        print("note: the model is quantized; the export has its float32 weights")
    with tempfile.TemporaryDirectory(prefix="deeplab-export-") as folder:
        graph = Path(folder) / f"model{target.format.suffix}"
        target.format.write(PixelsToLabels(checkpoint), describe(metadata), graph)
        comparison = compare(target.format.runtime(), target.format.load(graph), source.files, photographs)
        comparison.require_equal()
        print(f"compared: {comparison}")
        return target.publish(graph, metadata, destination)


def read_photographs(paths: Sequence[Path]) -> list[RGBImage]:
    """Decode the images at `paths`, or a sample photograph if there are none; uint8 RGB H×W×3 each.

    Raises:
        ConfigurationError: an image cannot be decoded.
    """
    with tempfile.TemporaryDirectory(prefix="deeplab-samples-") as folder:
        return [read_image(path) for path in paths or write_samples(Path(folder), NAMES[:1])]


def _destination(arguments: Namespace, source: Source) -> Destination:
    name = arguments.name or source.name
    return Destination(arguments.out or ROOT / DEFAULTS[arguments.to].format(name=name), name, arguments.version or 1)

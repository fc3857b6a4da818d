"""Export a model for another runtime or server, and compare the export with torch before it is written.

python -m scripts.export model/weights/NAME.safetensors --to onnx --out segmenter.onnx
python -m scripts.export model/weights/NAME.safetensors --to openvino --image street.jpg
python -m scripts.export build/model-store/deeplabv3.mar --to triton --out models
python -m scripts.export mine.safetensors --to ovms --out models --name rooms --version 2

In: uint8 RGB pixels of any size, as decoders give them; normalization is inside. Out: a label for each pixel, and logits.
Classes, palette, resize policy and calibration are in the file's metadata. An export that labels less than 99.99 % of pixels
like torch in float32 is not written. docs/export.md says how to call each target, and what is lost.
"""

import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from handler.geometry import RGBImage
from handler.image.process import prepare_process
from scripts.arguments import Parser, existing_file, one_of, positive_int
from scripts.errors import UsageError, report_errors
from scripts.export.comparison import compare
from scripts.export.network import PixelsToLabels, describe, describe_tensors
from scripts.export.source import Source, open_source
from scripts.export.targets import TARGETS, Destination, Repository, Target
from scripts.image_files import read_image
from scripts.samples import NAMES, write_samples

ROOT = Path(__file__).parents[2]


@report_errors
def main(argv: list[str] | None = None) -> int:
    prepare_process()
    arguments = _arguments(argv)
    target = TARGETS[arguments.to]
    with open_source(arguments.checkpoint) as source:
        destination = _destination(arguments, target, source)
        target.check(destination)
        target.format.require_packages()
        path = export(source, target, destination, read_photographs(arguments.image))
        print(f"{path}: {arguments.to}")
        print(*describe_tensors(source.files.metadata()), sep="\n")
    return 0


def export(source: Source, target: Target, destination: Destination, photographs: Sequence[RGBImage]) -> Path:
    """Convert a model, compare the result with torch on `photographs`, then write it; return the path to show.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ExportError: the export's labels are not torch's; nothing is written.
    """
    checkpoint = source.files.load()
    metadata = checkpoint.metadata
    if metadata.quantization is not None:
        print("note: the model is quantized; exported are its own weights, in float32")
    with tempfile.TemporaryDirectory(prefix="deeplab-export-") as folder:
        graph = Path(folder) / f"model{target.format.suffix}"
        target.format.write(PixelsToLabels(checkpoint), describe(metadata), graph)
        comparison = compare(target.format.runtime(), target.format.load(graph), source.files, photographs)
        comparison.require()
        print(f"compared: {comparison}")
        return target.publish(graph, metadata, destination)


def read_photographs(paths: Sequence[Path]) -> list[RGBImage]:
    """Decode the images at `paths`, or a sample photograph if there are none; uint8 RGB H×W×3 each.

    Raises:
        ConfigurationError: one cannot be decoded.
    """
    with tempfile.TemporaryDirectory(prefix="deeplab-samples-") as folder:
        return [read_image(path) for path in paths or write_samples(Path(folder), NAMES[:1])]


def _destination(arguments: Namespace, target: Target, source: Source) -> Destination:
    name = arguments.name or source.name
    return Destination(arguments.out or ROOT / target.default.format(name=name), name, arguments.version or 1)


def _arguments(argv: list[str] | None) -> Namespace:
    arguments = _parser().parse_args(argv)
    if not isinstance(TARGETS[arguments.to], Repository):
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
    parser.add_argument("--to", type=one_of(TARGETS), required=True, metavar="TARGET", help=", ".join(TARGETS))
    defaults = ", ".join(target.default.format(name="NAME") for target in TARGETS.values())
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

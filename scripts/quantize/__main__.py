"""Give a checkpoint a graph in 8-bit integers, for faster CPUs, and measure what that costs.

python -m scripts.quantize CHECKPOINT.safetensors --calibration PHOTOGRAPHS --data LABELLED
python -m scripts.quantize CHECKPOINT.safetensors --calibration PHOTOGRAPHS

The result is served like any other checkpoint. It keeps the network's own weights too, for explanations, GPUs and
`precision: float32`. It is not written if it loses too much: mIoU on labelled data or, without them, the share of pixels that
keep their label.
"""

import sys
from argparse import Namespace
from pathlib import Path

from handler.image.process import prepare_process
from handler.labels import Labels
from model import read_metadata
from model.strict import ConfigurationError
from scripts.arguments import Parser, existing_folder, fraction, number, positive_int
from scripts.datasets import DataError, SegmentationData, check, describe_absence
from scripts.datasets.options import add_data_options
from scripts.errors import UsageError, report_errors
from scripts.evaluate.scoring import open_labelled_data
from scripts.quantize.acceptance import Acceptance, ComparisonImages
from scripts.quantize.calibration import Calibration
from scripts.quantize.checkpoint import quantize_checkpoint
from scripts.quantize.nncf_graph import import_nncf


@report_errors
def main(argv: list[str] | None = None) -> int:
    prepare_process()
    arguments = _arguments(argv)
    source: Path = arguments.checkpoint
    out = arguments.out or source.with_name(f"{source.stem}.int8.safetensors")
    bounds = {name: getattr(arguments, name) for name in ("max_drop", "least_agreement")}
    acceptance = Acceptance(**{name: bound for name, bound in bounds.items() if bound is not None})
    _require_quantizable(source, out)
    import_nncf()
    calibration = Calibration.choose(arguments.calibration, arguments.photographs)
    data = _labelled(source, arguments)
    comparison = ComparisonImages.choose(data, arguments.split, calibration)
    quantize_checkpoint(source, calibration, comparison, acceptance, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, calibrated on {len(calibration.used)} photographs of {calibration.name}")
    print(f"serve it: make serve CHECKPOINT={out}")
    return 0


def _arguments(argv: list[str] | None) -> Namespace:
    arguments = _parser().parse_args(argv)
    for name in ("split", "images", "mask_values"):
        value = getattr(arguments, name)
        if value is not None and arguments.data is None:
            raise UsageError(f"--{name.replace('_', '-')} {value}: is about the labelled data; give --data")
    for option, needed in (("max_drop", True), ("least_agreement", False)):
        if getattr(arguments, option) is not None and (arguments.data is not None) != needed:
            flag = "--" + option.replace("_", "-")
            raise UsageError(f"{flag} is for a comparison {'with' if needed else 'without'} true labels (--data)")
    return arguments


def _require_quantizable(source: Path, out: Path) -> None:
    if read_metadata(source).quantization is not None:
        raise ConfigurationError(f"{source}: is quantized already; give the checkpoint it was made from")
    if out.suffix != ".safetensors":
        raise ConfigurationError(f"--out {out}: must end in .safetensors")
    if out.resolve() == source.resolve():
        raise ConfigurationError(f"--out {out}: is the checkpoint itself; choose another name")


def _labelled(source: Path, arguments: Namespace) -> SegmentationData | None:
    """Open and check the labelled data, whose classes must be those of the checkpoint at `source`."""
    if arguments.data is None:
        return None
    labels = Labels.from_metadata(read_metadata(source))
    data = open_labelled_data(arguments, labels)
    summary = check(data, len(labels.names), show_progress=True)
    if {index for index, pixels in enumerate(summary.pixels) if pixels} <= {labels.background}:
        raise DataError(f"{describe_absence(data, labels.names, summary)}. Without another class, mIoU measures no loss")
    return data


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

"""Run the command: quantize a checkpoint and compare the result with the original."""

from argparse import Namespace
from pathlib import Path

from handler.image.process import prepare_process
from handler.labels import Labels
from model import read_metadata
from model.strict import ConfigurationError
from scripts.datasets import DataError, SegmentationData, check, describe_absence
from scripts.evaluate.scoring import open_labelled_data
from scripts.quantize.acceptance import Acceptance, ComparisonImages
from scripts.quantize.calibration import Calibration
from scripts.quantize.checkpoint import quantize_checkpoint
from scripts.quantize.nncf_graph import import_nncf


def run_command(arguments: Namespace) -> None:
    """Quantize the checkpoint that the command line names.

    Args:
        arguments: parsed arguments of `python -m scripts.quantize`.

    Raises:
        UserError, ConfigurationError, CheckpointError: photographs, data or the checkpoint cannot be used.
        QuantizationRefused: the quantized network lost too much accuracy.
    """
    prepare_process()
    source: Path = arguments.checkpoint
    out = arguments.out or source.with_name(f"{source.stem}.int8.safetensors")
    limits = {name: getattr(arguments, name) for name in ("max_drop", "least_agreement")}
    acceptance = Acceptance(**{name: limit for name, limit in limits.items() if limit is not None})
    _require_quantizable(source, out)
    import_nncf()
    calibration = Calibration.choose(arguments.calibration, arguments.photographs)
    data = _open_data(source, arguments)
    comparison = ComparisonImages.choose(data, arguments.split, calibration)
    quantize_checkpoint(source, calibration, comparison, acceptance, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, calibrated on {len(calibration.used)} photographs of {calibration.name}")
    print(f"serve it: make serve CHECKPOINT={out}")


def _require_quantizable(source: Path, out: Path) -> None:
    if read_metadata(source).quantization is not None:
        raise ConfigurationError(f"{source}: is quantized already; give the checkpoint it was made from")
    if out.suffix != ".safetensors":
        raise ConfigurationError(f"--out {out}: must end in .safetensors")
    if out.resolve() == source.resolve():
        raise ConfigurationError(f"--out {out}: is the checkpoint itself; choose another name")


def _open_data(source: Path, arguments: Namespace) -> SegmentationData | None:
    """Open the labelled data and check that they have the classes of the checkpoint at `source`."""
    if arguments.data is None:
        return None
    labels = Labels.from_metadata(read_metadata(source))
    data = open_labelled_data(arguments, labels)
    summary = check(data, len(labels.names), show_progress=True)
    if {index for index, pixels in enumerate(summary.pixels) if pixels} <= {labels.background}:
        raise DataError(f"{describe_absence(data, labels.names, summary)}. Without another class, mIoU cannot measure the loss")
    return data

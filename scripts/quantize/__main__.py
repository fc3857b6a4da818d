"""Make of a checkpoint one whose network computes in 8-bit integers on CPUs, and find out what that costs.

python -m scripts.quantize CHECKPOINT.safetensors --calibration PHOTOGRAPHS --data LABELLED
python -m scripts.quantize CHECKPOINT.safetensors --calibration PHOTOGRAPHS

The result is served like any other checkpoint. It keeps the network's own weights too, for explanations, GPUs and
`precision: float32`. It is not written if it lost too much: mIoU on labelled data; without those, if it labels too many pixels
of photographs otherwise than the network itself.
"""

import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handler.geometry import DecodedImage, RGBImage
from handler.image.process import prepare_process
from handler.labels import Labels
from handler.network.engines import EngineOptions, ModelFiles, Precision, build_engine
from handler.network.engines.openvino_graph import convert, write_graph
from handler.network.tiling import resize_to_network
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model import (
    CheckpointMetadata,
    Quantization,
    add_quantized_graph,
    load_checkpoint,
    read_metadata,
)
from model.strict import ConfigurationError
from scripts.arguments import Parser, existing_folder, fraction, number, positive_int
from scripts.datasets import Mask, SegmentationData, check, open_data
from scripts.errors import UsageError, UserError, print_warning, report_errors
from scripts.evaluate.scoring import require_same_classes
from scripts.image_files import read_image
from scripts.progress import progress
from scripts.quantize.accuracy_loss import Loss, measure
from scripts.quantize.calibration import Calibration, evenly
from scripts.quantize.nncf_graph import Pictures, import_nncf, method, quantize, serialized

#: Of photographs, where there are no labelled data.
_MOST_COMPARED = 50
_SETTINGS = HandlerSettings()


class QuantizationRefused(UserError):
    """The quantized network lost too much."""


@dataclass(frozen=True)
class Demands:
    """What a quantized network must meet."""

    #: Points of mIoU, in percent, where there are labelled data.
    max_drop: float = 0.5
    #: Share of pixels labelled like the network itself does, where there are none.
    least_agreement: float = 0.99

    def require(self, loss: Loss) -> None:
        """
        Raises:
            QuantizationRefused: `loss` is too great.
        """
        advice = "more photographs, or such as are more like those to be served, may help (--calibration, --photographs)"
        if loss.points is None:
            if loss.equal_labels < self.least_agreement:
                raise QuantizationRefused(
                    f"not written: {loss.equal_labels:.2%} of the pixels are labelled as before, should be "
                    f"{self.least_agreement:.2%} (--least-agreement); {advice}, and labelled data say what it costs (--data)"
                )
        # Not `>`: without a single class in the data, mIoU is no number.
        elif not loss.points <= self.max_drop:
            raise QuantizationRefused(
                f"not written: {loss.points:.2f} points of mIoU lost, should be at most {self.max_drop:g} (--max-drop); "
                f"{advice}"
            )


@dataclass(frozen=True)
class Comparison:
    """What float32 and int8 are compared on."""

    name: str
    data: SegmentationData | None
    photographs: list[Path]

    @classmethod
    def choose(cls, data: SegmentationData | None, split: str | None, calibration: Calibration) -> "Comparison":
        """`data`; without, photographs that were not calibrated on, if there are any."""
        if data is not None:
            name = data.root.resolve().name
            return cls(f"{name} {split}" if split else name, data, [])
        return cls(calibration.name, None, evenly(calibration.left or calibration.used, _MOST_COMPARED))

    def images(self) -> Iterator[tuple[RGBImage, Mask | None]]:
        """
        Raises:
            ConfigurationError: a photograph cannot be decoded.
            DataError: a pair cannot be read.
        """
        if self.data is None:
            for path in progress(self.photographs, "comparing"):
                yield read_image(path), None
        else:
            for sample in progress(self.data.samples, "comparing"):
                yield self.data.read(sample)


def quantize_checkpoint(
    source: Path, calibration: Calibration, comparison: Comparison, demands: Demands, out: Path
) -> Quantization:
    """Write the checkpoint at `source`, with a quantized graph of its network, to `out`.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: a photograph cannot be decoded, or NNCF is not installed.
        DataError: a pair of the labelled data cannot be read.
        QuantizationRefused: the quantized network does not meet the demands.
    """
    checkpoint = load_checkpoint(source)
    checkpoint.network.drop_auxiliary_head()
    metadata = checkpoint.metadata

    def seen() -> Iterator[RGBImage]:
        return (resize_to_network(DecodedImage.whole(image), metadata.resize) for image in calibration.pictures())

    with tempfile.TemporaryDirectory(prefix="deeplab-quantize-") as folder:
        before, after = Path(folder) / "before.xml", Path(folder) / "after.xml"
        graph = convert(checkpoint)
        write_graph(graph, before)
        quantized = serialized(quantize(graph, Pictures(seen, len(calibration.used))), after)
        loss = measure(_pipeline(source, before, "float32"), _pipeline(source, after, "int8"), comparison.images())
    record = Quantization(
        method=method(graph),
        calibration=calibration.name,
        photographs=len(calibration.used),
        dataset=comparison.name,
        images=loss.images,
        equal_labels=round(loss.equal_labels, 6),
        miou_before=None if loss.before is None else round(loss.before.miou, 4),
        miou_after=None if loss.after is None else round(loss.after.miou, 4),
    )
    print(in_words(record))
    demands.require(loss)
    add_quantized_graph(out, source, quantized, described(metadata, record))
    return record


def described(metadata: CheckpointMetadata, record: Quantization) -> CheckpointMetadata:
    """`metadata`, with the quantization; figures that were measured earlier say that they are older than it."""
    earlier = tuple(
        each.model_copy(update={"conditions": ", ".join(filter(None, [each.conditions, "before quantization"]))})
        for each in metadata.evaluations
    )
    return metadata.model_copy(update={"evaluations": earlier, "quantization": record})


def in_words(record: Quantization) -> str:
    """For people."""
    where = f"{record.images} images of {record.dataset}"
    equal = f"{record.equal_labels:.2%} of the pixels are labelled alike"
    if record.miou_before is None or record.miou_after is None:
        return f"{where}, without true labels: {equal} in float32 and in int8, both by OpenVINO"
    before, after = 100 * record.miou_before, 100 * record.miou_after
    return f"{where}: mIoU {before:.2f} % in float32, {after:.2f} % in int8, both by OpenVINO; {equal}"


def _pipeline(source: Path, graph: Path, precision: Precision) -> Pipeline:
    engine = build_engine("openvino", ModelFiles(source, graph=graph), EngineOptions(precision=precision))
    return Pipeline(engine, read_metadata(source), ModelIdentity(source.stem, ""), _SETTINGS.limits)


@report_errors
def main(argv: list[str] | None = None) -> int:
    prepare_process()
    arguments = _arguments(argv)
    source: Path = arguments.checkpoint
    out = arguments.out or source.with_name(f"{source.stem}.int8.safetensors")
    given = {name: getattr(arguments, name) for name in ("max_drop", "least_agreement")}
    demands = Demands(**{name: value for name, value in given.items() if value is not None})
    _require_quantizable(source, out)
    import_nncf()
    calibration = Calibration.choose(arguments.calibration, arguments.photographs)
    data = _labelled(source, arguments.data, arguments.split)
    comparison = Comparison.choose(data, arguments.split, calibration)
    quantize_checkpoint(source, calibration, comparison, demands, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, calibrated on {len(calibration.used)} photographs of {calibration.name}")
    print(f"serve it: make serve CHECKPOINT={out}")
    return 0


def _arguments(argv: list[str] | None) -> Namespace:
    arguments = _parser().parse_args(argv)
    if arguments.split is not None and arguments.data is None:
        raise UsageError(f"--split {arguments.split}: is a split of the labelled data; give --data")
    for option, needed in (("max_drop", True), ("least_agreement", False)):
        if getattr(arguments, option) is not None and (arguments.data is not None) != needed:
            flag = "--" + option.replace("_", "-")
            raise UsageError(f"{flag} is for a comparison {'with' if needed else 'without'} true labels (--data)")
    return arguments


def _require_quantizable(source: Path, out: Path) -> None:
    if read_metadata(source).quantization is not None:
        raise ConfigurationError(f"{source}: is quantized already; give the checkpoint that it was made of")
    if out.suffix != ".safetensors":
        raise ConfigurationError(f"--out {out}: must end in .safetensors")
    if out.resolve() == source.resolve():
        raise ConfigurationError(f"--out {out}: would be written over the checkpoint itself; choose another name")


def _labelled(source: Path, folder: Path | None, split: str | None) -> SegmentationData | None:
    """The data in `folder`, whose classes must be those of the checkpoint at `source`."""
    if folder is None:
        return None
    labels, data = Labels.from_metadata(read_metadata(source)), open_data(folder, split)
    if warning := require_same_classes(labels, data):
        print_warning(f"{data.root}: {warning}")
    check(data, len(labels.names), show_progress=True)
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
    parser.add_argument(
        "--data",
        type=existing_folder,
        metavar="DIR",
        help="labelled images to measure mIoU on, as for scripts.evaluate",
    )
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

"""Write a checkpoint that also holds its network as an 8-bit integer graph."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from handler.geometry import DecodedImage, RGBImage
from handler.network.engines import EngineOptions, ModelFiles, Precision, build_engine
from handler.network.engines.openvino_conversion import convert
from handler.network.engines.openvino_graph import write_graph
from handler.network.tiling import resize_to_network
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model import CheckpointMetadata, Quantization, add_quantized_graph, load_checkpoint, read_metadata
from scripts.quantize.acceptance import Acceptance, ComparisonImages
from scripts.quantize.accuracy_loss import measure_loss
from scripts.quantize.calibration import Calibration
from scripts.quantize.nncf_graph import Pictures, describe_method, quantize, serialize

_SETTINGS = HandlerSettings()


def quantize_checkpoint(
    source: Path, calibration: Calibration, comparison: ComparisonImages, acceptance: Acceptance, out: Path
) -> Quantization:
    """Write the checkpoint at `source` to `out`, with a quantized graph of its network.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: a photograph cannot be decoded, or NNCF is not installed.
        DataError: a pair of the labelled data cannot be read.
        QuantizationRefused: the quantized network lost more than `acceptance` allows.
    """
    checkpoint = load_checkpoint(source)
    checkpoint.network.drop_auxiliary_head()
    metadata = checkpoint.metadata

    def network_inputs() -> Iterator[RGBImage]:
        return (resize_to_network(DecodedImage.from_pixels(image), metadata.resize) for image in calibration.read())

    with tempfile.TemporaryDirectory(prefix="deeplab-quantize-") as folder:
        before, after = Path(folder) / "before.xml", Path(folder) / "after.xml"
        graph = convert(checkpoint)
        write_graph(graph, before)
        quantized = serialize(quantize(graph, Pictures(network_inputs, len(calibration.used))), after)
        loss = measure_loss(_pipeline(source, before, "float32"), _pipeline(source, after, "int8"), comparison.read())
    record = Quantization(
        method=describe_method(graph),
        calibration=calibration.name,
        photographs=len(calibration.used),
        dataset=comparison.name,
        images=loss.images,
        equal_labels=round(loss.equal_labels, 6),
        miou_before=None if loss.before is None else round(loss.before.miou, 4),
        miou_after=None if loss.after is None else round(loss.after.miou, 4),
    )
    print(describe(record))
    acceptance.check(loss)
    add_quantized_graph(out, source, quantized, with_quantization(metadata, record))
    return record


def with_quantization(metadata: CheckpointMetadata, record: Quantization) -> CheckpointMetadata:
    """Return `metadata` with the quantization, and with earlier evaluations marked as made before it."""
    evaluations = tuple(evaluation.with_condition("before quantization") for evaluation in metadata.evaluations)
    return metadata.model_copy(update={"evaluations": evaluations, "quantization": record})


def describe(record: Quantization) -> str:
    """Return the comparison of float32 and int8 as a sentence."""
    images = f"{record.images} images of {record.dataset}"
    equal_labels = f"{record.equal_labels:.2%} of the pixels have the same label"
    if record.miou_before is None or record.miou_after is None:
        return f"{images}, without true labels: {equal_labels} in float32 and in int8, both by OpenVINO"
    before, after = 100 * record.miou_before, 100 * record.miou_after
    return f"{images}: mIoU {before:.2f} % in float32, {after:.2f} % in int8, both by OpenVINO; {equal_labels}"


def _pipeline(source: Path, graph: Path, precision: Precision) -> Pipeline:
    engine = build_engine("openvino", ModelFiles(source, graph=graph), EngineOptions(precision=precision))
    return Pipeline(engine, read_metadata(source), ModelIdentity(source.stem, ""), _SETTINGS.limits)

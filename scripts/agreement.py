"""Compare every engine available on this machine with torch in float32: the fraction of equal labels on photographs."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from handler.geometry import DecodedImage, RGBImage
from handler.labels import Labels
from handler.masks.label_map import make_label_map
from handler.network.engines import AUTO, Engine, EngineOptions, ModelFiles, Precision, build_engine, has_gpu
from handler.network.engines.archive import MIN_EQUAL_LABELS, Agreement, EngineAgreement
from handler.network.tiling import resize_to_network
from handler.settings import HandlerSettings
from model.strict import ConfigurationError
from scripts.image_files import find_images, read_image
from scripts.samples import ALL, write_samples

#: The GPU to compare, if the machine has one.
_GPU = 0


class DisagreementError(ConfigurationError):
    """An engine labels too many pixels differently from torch in float32."""


def compare_engines(
    files: ModelFiles, settings: HandlerSettings, folder: Path | None = None, required: float | None = None
) -> Agreement:
    """Segment photographs with every engine that may serve `files` on this machine under `settings`, and compare the labels.

    Args:
        files: the model.
        settings: the handler's settings.
        folder: searched recursively for images; None for the samples.
        required: fraction of labels that must be equal; None for each precision's `MIN_EQUAL_LABELS`.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: the settings cannot be used, or `folder` holds no images.
    """
    with tempfile.TemporaryDirectory(prefix="deeplab-samples-") as scratch:
        paths = find_images(folder) if folder else write_samples(Path(scratch), ALL)
        reference = build_engine("torch", files, EngineOptions(settings.threads, precision="float32"))
        tallies = [_Tally(engine) for engine in _candidates(files, settings)]
        for path in paths if tallies else []:
            _compare(read_image(path), reference, tallies, files)
    source = "photographs of scikit-image" if folder is None else folder.resolve().name
    return Agreement(photographs=source, engines=tuple(tally.agreement(required) for tally in tallies))


def require_agreement(agreement: Agreement, precision: Precision) -> None:
    """Refuse engines that label too many pixels differently from torch in float32.

    With `precision` auto, bfloat16 is not refused: an untrusted precision is not chosen (`Agreement.trusted`).

    Raises:
        DisagreementError: an engine that would be chosen agrees too little; the message gives its figures.
    """
    for engine in agreement.engines:
        is_selected = agreement.trusted_precision(engine.engine, precision) == precision
        if not engine.is_sufficient and (is_selected or engine.precision != "bfloat16"):
            raise DisagreementError(
                f"{describe(engine)} on {agreement.photographs}, should be {engine.required:.2%}; give photographs like "
                "those to be served (--photographs), another 'precision' (in the model configuration), or --least-agreement"
            )


def describe(engine: EngineAgreement) -> str:
    """Return the agreement as a sentence without a full stop."""
    share = f"{engine.equal_labels:.3%} of the pixels of {engine.images} photographs"
    return f"{engine.engine} in {engine.precision} labels {share} like torch in float32"


def _candidates(files: ModelFiles, settings: HandlerSettings) -> Iterator[Engine]:
    """Build the engines that workers on a machine like this one may run."""
    gpu_options = EngineOptions(settings.threads, _GPU, settings.precision)
    if settings.engine in {AUTO, "torch"} and has_gpu(gpu_options):
        yield build_engine("torch", files, gpu_options)
    if settings.engine in {AUTO, "openvino"}:
        openvino = build_engine("openvino", files, EngineOptions(settings.threads, precision=settings.precision))
        if settings.precision == AUTO and openvino.precision == "bfloat16":
            # Workers on processors without bfloat16 run float32.
            yield build_engine("openvino", files, EngineOptions(settings.threads, precision="float32"))
        yield openvino


def _compare(image: RGBImage, reference: Engine, tallies: Sequence["_Tally"], files: ModelFiles) -> None:
    metadata = files.metadata()
    pixels = resize_to_network(DecodedImage.from_pixels(image), metadata.resize)[None]
    size, dtype = (image.shape[0], image.shape[1]), Labels.from_metadata(metadata).dtype
    expected = reference.infer(pixels)[0]
    expected_labels = make_label_map(expected, size, dtype)
    for tally in tallies:
        logits = tally.engine.infer(pixels)[0]
        tally.add(make_label_map(logits, size, dtype) == expected_labels, float(np.abs(logits - expected).max()))


@dataclass
class _Tally:
    """One engine's counts, summed over photographs."""

    engine: Engine
    equal: int = 0
    pixels: int = 0
    shares: list[float] = field(default_factory=list)
    difference: float = 0.0

    def add(self, equal: npt.NDArray[np.bool_], difference: float) -> None:
        self.equal += int(equal.sum())
        self.pixels += equal.size
        self.shares.append(float(equal.mean()))
        self.difference = max(self.difference, difference)

    def agreement(self, required: float | None) -> EngineAgreement:
        return EngineAgreement(
            engine=self.engine.name,
            precision=self.engine.precision,
            equal_labels=round(self.equal / self.pixels, 6),
            least_of_one_image=round(min(self.shares), 6),
            images=len(self.shares),
            greatest_difference=round(self.difference, 4),
            required=MIN_EQUAL_LABELS[self.engine.precision] if required is None else required,
        )

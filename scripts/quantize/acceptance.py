"""The images on which a quantized network is compared, and how much accuracy it may lose."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handler.geometry import RGBImage
from scripts.datasets import Mask, SegmentationData
from scripts.errors import UserError
from scripts.image_files import read_image
from scripts.progress import progress
from scripts.quantize.accuracy_loss import AccuracyLoss
from scripts.quantize.calibration import Calibration, pick_evenly

#: Most photographs to compare if there are no labelled data.
_MAX_COMPARED = 50
_ADVICE = "more photographs, or photographs more like those to be served, may help (--calibration, --photographs)"


class QuantizationRefused(UserError):
    """The quantized network lost too much accuracy."""


@dataclass(frozen=True)
class Acceptance:
    """The greatest loss at which a quantized network is still written."""

    #: Points of mIoU, in percent, on labelled data.
    max_drop: float = 0.5
    #: Fraction of pixels that must keep their label, without labelled data.
    least_agreement: float = 0.99

    def check(self, loss: AccuracyLoss) -> None:
        """
        Raises:
            QuantizationRefused: `loss` is too great.
        """
        if loss.points is None:
            if loss.equal_labels < self.least_agreement:
                raise QuantizationRefused(
                    f"not written: {loss.equal_labels:.2%} of the pixels keep their label, should be at least "
                    f"{self.least_agreement:.2%} (--least-agreement); {_ADVICE}, and labelled data show the lost mIoU (--data)"
                )
        # Not `>`: mIoU is NaN if the data contain no class at all.
        elif not loss.points <= self.max_drop:
            raise QuantizationRefused(
                f"not written: {loss.points:.2f} points of mIoU lost, should be at most {self.max_drop:g} (--max-drop); "
                f"{_ADVICE}"
            )


@dataclass(frozen=True)
class ComparisonImages:
    """The images on which float32 and int8 are compared: labelled data, or photographs."""

    name: str
    data: SegmentationData | None
    photographs: list[Path]

    @classmethod
    def choose(cls, data: SegmentationData | None, split: str | None, calibration: Calibration) -> "ComparisonImages":
        """Choose `data` if given, else photographs not used for calibration, else those used."""
        if data is not None:
            name = data.name
            return cls(f"{name} {split}" if split else name, data, [])
        return cls(calibration.name, None, pick_evenly(calibration.unused or calibration.used, _MAX_COMPARED))

    def read(self) -> Iterator[tuple[RGBImage, Mask | None]]:
        """Read every image, with its true labels if it has any.

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

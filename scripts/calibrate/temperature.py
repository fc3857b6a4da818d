"""Fit a temperature (Guo et al. 2017) to pixels of known class."""

from dataclasses import dataclass

import torch

from handler.pipeline import Pipeline
from model import Calibration
from model.metadata import MAX_TEMPERATURE, MIN_TEMPERATURE
from scripts.calibrate.pixel_sample import PixelSample, pixels_per_image
from scripts.calibrate.reliability import Reliability
from scripts.datasets import SegmentationData
from scripts.progress import progress

_MAX_ITERATIONS = 50


@dataclass(frozen=True)
class CalibrationResult:
    """A calibration, and the reliability before and after it."""

    calibration: Calibration
    before: Reliability
    after: Reliability

    @property
    def curves(self) -> dict[str, Reliability]:
        """Both reliabilities, by their names in the diagram."""
        return {"before": self.before, "after": self.after}

    def __str__(self) -> str:
        fit = self.calibration
        return (
            f"temperature {fit.temperature:g}, fitted to {fit.pixels:,} pixels of {fit.images:,} images of {fit.dataset}: "
            f"expected calibration error {fit.ece_before:.2%} → {fit.ece_after:.2%}, "
            f"negative log-likelihood {fit.nll_before:.4f} → {fit.nll_after:.4f}"
        )


def calibrate_pipeline(pipeline: Pipeline, data: SegmentationData, name: str) -> CalibrationResult:
    """Fit the temperature of the uncalibrated `pipeline` on images it was not trained on, at a single scale.

    Args:
        pipeline: the model with its own settings.
        data: the images, with at least one labelled pixel.
        name: name of the data in the metadata.

    Raises:
        DataError: a pair cannot be read.
    """
    count = pixels_per_image(len(data), len(pipeline.labels.names))
    samples = []
    for seed, entry in enumerate(progress(data.samples, "calibrating")):
        image, truth = data.read(entry)
        samples.append(PixelSample.take(pipeline.segment(image), truth, count, seed))
    return calibrate_sample(PixelSample.join(samples), name, len(data))


def calibrate_sample(sample: PixelSample, name: str, images: int) -> CalibrationResult:
    """Fit the temperature to pixels taken from `images` images of the data called `name`."""
    temperature = round(fit_temperature(sample), 4)
    before, after = sample.reliability(1.0), sample.reliability(temperature)
    calibration = Calibration(
        temperature=temperature,
        dataset=name,
        images=images,
        pixels=len(sample),
        ece_before=round(before.ece, 5),
        ece_after=round(after.ece, 5),
        nll_before=round(float(sample.nll(1.0)), 5),
        nll_after=round(float(sample.nll(temperature)), 5),
    )
    return CalibrationResult(calibration, before, after)


def fit_temperature(sample: PixelSample) -> float:
    """Return the temperature in `MIN_TEMPERATURE`..`MAX_TEMPERATURE` at which the true classes are most likely."""
    # Optimizing the logarithm keeps the temperature positive.
    logarithm = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithm], max_iter=_MAX_ITERATIONS, line_search_fn="strong_wolfe")

    def temperature() -> torch.Tensor:
        return logarithm.exp().clamp(MIN_TEMPERATURE, MAX_TEMPERATURE)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = sample.nll(temperature())
        loss.backward()
        return loss

    optimizer.step(closure)
    return temperature().item()

"""Calibrate a model on its published network's labels, provided that human annotations confirm the improvement."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handler.limits import Limits
from handler.network.engines import AUTO, EngineOptions, ModelFiles, build_engine
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from model import read_metadata, replace_metadata
from scripts.calibrate.pixel_sample import PixelSample, pixels_per_image
from scripts.calibrate.reliability import Reliability, draw_reliability
from scripts.calibrate.temperature import CalibrationResult, calibrate_pipeline
from scripts.datasets import SegmentationData
from scripts.progress import progress
from tools.scenes_and_streets.labelled_evidence import SharedClasses, intersection_over_union


@dataclass(frozen=True)
class Evidence:
    """A model's results on annotated images."""

    #: IoU by shared class, 0..1; NaN for a class without pixels.
    iou: Mapping[str, float]
    #: Reliability of labels with a shared class, without and with the temperature.
    before: Reliability
    after: Reliability

    @property
    def agrees(self) -> bool:
        """Whether the temperature improves the probabilities here too."""
        return self.after.ece < self.before.ece

    def __str__(self) -> str:
        ious = ", ".join(f"{name} {value:.3f}" for name, value in self.iou.items())
        return (
            f"expected calibration error of {self.before.pixels.sum():,} pixels labelled as a shared class "
            f"{self.before.ece:.2%} → {self.after.ece:.2%}; IoU {ious}"
        )


def calibrate(
    checkpoint: Path, published: SegmentationData, annotated: SegmentationData, shared: SharedClasses, engine: str = AUTO
) -> None:
    """Fit the temperature of `checkpoint`, print the results, and write it if the `annotated` images agree.

    Args:
        checkpoint: the model to calibrate, modified in place.
        published: photographs that it was not trained on, with the published network's labels.
        annotated: images annotated with PASCAL VOC's classes.
        shared: the classes that both have.
        engine: the engine that runs the network.
    """
    metadata = read_metadata(checkpoint)
    uncalibrated = metadata.model_copy(update={"calibration": None})
    inference_engine = build_engine(engine, ModelFiles(checkpoint), EngineOptions(gpu_id=0))
    pipeline = Pipeline(inference_engine, uncalibrated, ModelIdentity(checkpoint.stem, ""), Limits())
    result = calibrate_pipeline(pipeline, published, f"{len(published)} photographs labelled by the published network")
    evidence = measure(pipeline, annotated, shared, result.calibration.temperature)
    diagram = checkpoint.with_suffix(".reliability.png")
    draw_reliability(diagram, _curves(result, evidence), checkpoint.stem)
    print(
        f"{result}\nannotations of {annotated.name}, {len(annotated)} images: {evidence}\nthe reliability diagram is {diagram}"
    )
    if not evidence.agrees:
        print("annotations disagree, so nothing was written")
        return
    replace_metadata(checkpoint, metadata.model_copy(update={"calibration": result.calibration}))
    print(f"{checkpoint}: calibrated")


def measure(pipeline: Pipeline, annotated: SegmentationData, shared: SharedClasses, temperature: float) -> Evidence:
    """Compare the labels of `pipeline`, which must not be calibrated, with VOC's annotations."""
    count = pixels_per_image(len(annotated), len(pipeline.labels.names))
    size = len(shared.names) + 1
    confusion, samples = np.zeros((size, size), np.int64), []
    for seed, entry in enumerate(progress(annotated.samples, "annotated images")):
        image, annotation = annotated.read(entry)
        result = pipeline.segment(image)
        confusion += shared.confusion(result, annotation)
        samples.append(shared.sample(result, annotation, count, seed))
    sample = PixelSample.join(samples)
    iou = dict(zip(shared.names, intersection_over_union(confusion).tolist(), strict=True))
    return Evidence(iou, shared.reliability(sample, 1.0), shared.reliability(sample, temperature))


def _curves(result: CalibrationResult, evidence: Evidence) -> dict[str, Reliability]:
    return {
        "published network, before": result.before,
        "published network, after": result.after,
        "annotations, before": evidence.before,
        "annotations, after": evidence.after,
    }

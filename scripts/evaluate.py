"""How well label maps agree with ground truth.

python -m scripts.evaluate CHECKPOINT --data FOLDER
python -m scripts.evaluate CHECKPOINT --data FOLDER --record "PASCAL VOC 2012 val"
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from handler.encoders import ModelIdentity
from handler.labelmap import LabelMap
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model import CheckpointError, Evaluation, read_metadata, replace_metadata
from scripts.training.voc import VOID, VocFolder

from torchmetrics.classification import MulticlassConfusionMatrix


@dataclass(frozen=True)
class Scores:
    """Figures over a whole data set, all in 0..1."""

    #: Intersection over union by class; NaN for a class that is neither there nor predicted.
    iou: npt.NDArray[np.float64]
    pixel_accuracy: float

    @property
    def miou(self) -> float:
        """Mean over the classes that occur."""
        return float(np.nanmean(self.iou))

    def evaluation(self, dataset: str, conditions: str) -> Evaluation:
        """As a checkpoint's metadata records it."""
        return Evaluation(
            dataset=dataset,
            miou=round(self.miou, 4),
            pixel_accuracy=round(self.pixel_accuracy, 4),
            conditions=conditions,
        )


def score(pairs: Iterable[tuple[LabelMap, LabelMap]], num_classes: int) -> Scores:
    """Compare (predicted, true) label maps of equal size; pixels whose truth is void count for nothing."""
    confusion = MulticlassConfusionMatrix(num_classes, ignore_index=VOID)
    for predicted, true in pairs:
        confusion.update(torch.from_numpy(predicted.astype(np.int64)), torch.from_numpy(true.astype(np.int64)))
    counts = confusion.compute().numpy().astype(np.float64)
    hits = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hits
    with np.errstate(invalid="ignore"):
        return Scores(hits / union, float(hits.sum() / counts.sum()))


def score_folder(pipeline: Pipeline, folder: VocFolder) -> Scores:
    """Score a model on every image of `folder`, as it is served: labels at the images' own sizes."""
    pairs = (folder.read(image_id) for image_id in tqdm(folder.ids, "evaluating", file=sys.stderr, leave=False))
    return score(((pipeline.segment(image).label_map, mask) for image, mask in pairs), len(pipeline.labels.names))


def table(scores: Scores, names: tuple[str, ...]) -> str:
    """IoU by class, then the means."""
    rows = [f"{name:<16}{iou:>8.4f}" for name, iou in zip(names, scores.iou, strict=True)]
    return "\n".join([*rows, f"{'mIoU':<16}{scores.miou:>8.4f}", f"{'pixel accuracy':<16}{scores.pixel_accuracy:>8.4f}"])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate", description="Score a checkpoint on a data set.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder in PASCAL VOC's layout")
    parser.add_argument("--record", metavar="NAME", help="write the figures into the checkpoint, as those on the data NAME")
    arguments = parser.parse_args(argv)
    try:
        folder = VocFolder.open(arguments.data)
        identity = ModelIdentity(arguments.checkpoint.stem, "")
        pipeline = Pipeline.load(arguments.checkpoint, HandlerSettings(), identity)
    except (CheckpointError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    scores = score_folder(pipeline, folder)
    print(table(scores, pipeline.labels.names))
    if arguments.record:
        record(arguments.checkpoint, scores.evaluation(arguments.record, f"{len(folder.ids)} images, single scale"))
    return 0


def record(path: Path, evaluation: Evaluation) -> None:
    """Write `evaluation` into the checkpoint at `path`, in place of an earlier one on the same data."""
    metadata = read_metadata(path)
    others = tuple(each for each in metadata.evaluations if each.dataset != evaluation.dataset)
    replace_metadata(path, metadata.model_copy(update={"evaluations": (*others, evaluation)}))


if __name__ == "__main__":
    sys.exit(main())

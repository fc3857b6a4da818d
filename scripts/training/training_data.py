"""What a run learns from: the data, shared out into training and validation, and the names of its classes."""

from dataclasses import dataclass
from pathlib import Path

from model.strict import ConfigurationError
from scripts.class_names import read_class_names
from scripts.datasets import DataSummary, SegmentationData, check, open_data, splits
from scripts.training.config import TrainingConfig

_VOC_CLASSES = 21


@dataclass(frozen=True)
class Material:
    """Data that fit the model."""

    training: SegmentationData
    validation: SegmentationData
    classes: tuple[str, ...]
    #: Of the training data.
    summary: DataSummary
    #: How many validation images hold each class.
    validation_images: tuple[int, ...]


def gather(config: TrainingConfig, *, progress: bool) -> Material:
    """Open the data that `config` names and read every pair once.

    Raises:
        ConfigurationError: there are no data, or their class names are not known or not as many as the model's.
        DataError: a pair is wrong, or a split is not there.
    """
    if config.data is None:
        raise ConfigurationError("no data: give --data FOLDER, or `data:` in the configuration")
    training, validation = _shared_out(config, config.data)
    classes = _class_names(config, training)
    summary = check(training, config.model.num_classes, show_progress=progress)
    held_out = check(validation, config.model.num_classes, show_progress=progress)
    return Material(training, validation, classes, summary, held_out.images)


def _shared_out(config: TrainingConfig, folder: Path) -> tuple[SegmentationData, SegmentationData]:
    present = splits(folder)
    train_split = config.train_split or ("train" if "train" in present else None)
    own_split = config.validation.split or ("val" if train_split == "train" and "val" in present else None)
    everything = open_data(folder, train_split)
    if config.exclude:
        everything = everything.without(config.exclude)
    if own_split is not None:
        validation = open_data(folder, own_split)
        shared = {sample.name for sample in everything.samples} & {sample.name for sample in validation.samples}
        if shared:
            raise ConfigurationError(
                f"{folder}: {len(shared)} of the {len(validation)} samples to validate on ({own_split}) are among those to "
                f"train on ({train_split or own_split}), {min(shared)!r} for one; name splits that have none in common"
            )
        return everything, validation
    held_out = everything.samples[:: config.validation.held_out_every]
    names = {sample.name for sample in held_out}
    return everything.subset([s for s in everything.samples if s.name not in names]), everything.subset(held_out)


def _class_names(config: TrainingConfig, data: SegmentationData) -> tuple[str, ...]:
    number = config.model.num_classes
    names = config.classes or data.classes
    if names is None and data.layout == "VOC" and number == _VOC_CLASSES:
        names = read_class_names()
    if names is None:
        raise ConfigurationError(
            f"no class names: {data.root} has no classes.txt; give `classes:`, {number} names, in the configuration"
        )
    if len(names) != number:
        raise ConfigurationError(f"{data.root} has {len(names)} classes, model.num_classes is {number}")
    return names

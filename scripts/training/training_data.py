"""Open the data of a run: training and validation samples and the names of their classes."""

from dataclasses import dataclass
from pathlib import Path

from model.strict import ConfigurationError
from scripts.class_names import read_class_names
from scripts.datasets import DataSummary, SegmentationData, check, open_data, splits
from scripts.training.config import TrainingConfig

_VOC_CLASSES = 21


@dataclass(frozen=True)
class TrainingData:
    """Training and validation data that fit the model."""

    training: SegmentationData
    validation: SegmentationData
    classes: tuple[str, ...]
    #: Pixels and classes of the training data.
    summary: DataSummary
    #: Number of validation images with each class.
    validation_images: tuple[int, ...]


def open_training_data(config: TrainingConfig, *, show_progress: bool) -> TrainingData:
    """Open the data that `config` names and check every pair of image and mask.

    Raises:
        ConfigurationError: no data are given, or class names are missing or not as many as the model's classes.
        DataError: a pair is invalid, or a split does not exist.
    """
    if config.data is None:
        raise ConfigurationError("no data: give --data FOLDER or `data:` in the configuration")
    training, validation = _split(config, config.data)
    classes = _class_names(config, training)
    summary = check(training, config.model.num_classes, show_progress=show_progress)
    held_out = check(validation, config.model.num_classes, show_progress=show_progress)
    return TrainingData(training, validation, classes, summary, held_out.images)


def _split(config: TrainingConfig, folder: Path) -> tuple[SegmentationData, SegmentationData]:
    available = splits(folder)
    train_split = config.train_split or ("train" if "train" in available else None)
    validation_split = config.validation.split or ("val" if train_split == "train" and "val" in available else None)
    everything = open_data(folder, train_split)
    if config.exclude:
        everything = everything.without(config.exclude)
    if validation_split is not None:
        validation = open_data(folder, validation_split)
        shared = {sample.name for sample in everything.samples} & {sample.name for sample in validation.samples}
        if shared:
            raise ConfigurationError(
                f"{folder}: {len(shared)} of {len(validation)} validation samples ({validation_split}) are also training "
                f"samples ({train_split or validation_split}), for example {min(shared)!r}; name disjoint splits"
            )
        return everything, validation
    held_out = everything.samples[:: config.validation.held_out_every]
    names = {sample.name for sample in held_out}
    return everything.subset([s for s in everything.samples if s.name not in names]), everything.subset(held_out)


def _class_names(config: TrainingConfig, data: SegmentationData) -> tuple[str, ...]:
    count = config.model.num_classes
    names = config.classes or data.classes
    if names is None and data.layout == "VOC" and count == _VOC_CLASSES:
        names = read_class_names()
    if names is None:
        raise ConfigurationError(
            f"no class names: {data.root} has no classes.txt; set `classes:` to {count} names in the configuration"
        )
    if len(names) != count:
        raise ConfigurationError(f"{data.root} has {len(names)} classes, model.num_classes is {count}")
    return names

"""Open a run's data: training and validation samples, and their class names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from model.strict import ConfigurationError
from scripts.class_names import read_class_names
from scripts.datasets import DataError, DataSource, DataSummary, SegmentationData, check, describe_absence, open_data, splits
from scripts.datasets.errors import list_some
from scripts.errors import print_warning
from scripts.training.config import TrainingConfig

_VOC_CLASSES = 21
#: Names of the splits for training and validation, also with COCO's years.
_TRAIN = re.compile(r"train(ing)?(\d{4})?", re.IGNORECASE)
_VALIDATION = re.compile(r"val(id(ation)?)?(\d{4})?", re.IGNORECASE)


@dataclass(frozen=True)
class TrainingData:
    """Training and validation data that fit the model."""

    training: SegmentationData
    validation: SegmentationData
    classes: tuple[str, ...]
    #: Pixel and class counts of the training data.
    summary: DataSummary
    #: Number of validation images with each class.
    validation_images: tuple[int, ...]


def open_training_data(config: TrainingConfig, *, show_progress: bool) -> TrainingData:
    """Open the data that `config` names, and check every pair of image and mask.

    Raises:
        ConfigurationError: no data are given, or class names are missing or differ in number from the model's classes.
        DataError: a pair is invalid, a split does not exist, or no training mask holds one of the classes.
    """
    if config.data is None:
        raise ConfigurationError("no data: give --data FOLDER or `data:` in the configuration")
    training, validation = _open_splits(config, config.data)
    classes = _class_names(config, training)
    summary = check(training, config.model.num_classes, show_progress=show_progress)
    _require_classes(config, training, classes, summary)
    held_out = check(validation, config.model.num_classes, show_progress=show_progress)
    if show_progress:
        _print_warnings(training, validation, classes, held_out)
    return TrainingData(training, validation, classes, summary, held_out.images)


def _require_classes(config: TrainingConfig, data: SegmentationData, classes: tuple[str, ...], summary: DataSummary) -> None:
    if summary.absent_classes and not config.allow_absent_classes:
        raise DataError(
            f"{describe_absence(data, classes, summary)}. A network does not learn a class that it never sees; if this one is "
            "absent on purpose, set allow_absent_classes: true in the configuration"
        )


def _print_warnings(
    training: SegmentationData, validation: SegmentationData, classes: tuple[str, ...], held_out: DataSummary
) -> None:
    """Print warnings about how the data were read and what the validation data cannot measure."""
    for note in dict.fromkeys((*training.notes, *validation.notes)):
        print_warning(note)
    if held_out.absent_classes:
        names = list_some([classes[index] for index in held_out.absent_classes])
        print_warning(f"the {len(validation):,} validation images hold no pixel of {names}, whose IoU they cannot measure")


def _open_splits(config: TrainingConfig, source: DataSource) -> tuple[SegmentationData, SegmentationData]:
    available = splits(source)
    train_split = config.train_split or _first_match(available, _TRAIN)
    validation_split = config.validation.split
    if validation_split is None and train_split is not None and _TRAIN.fullmatch(train_split):
        validation_split = _first_match(available, _VALIDATION)
    training = open_data(source, train_split, classes=config.classes)
    if config.exclude:
        training = training.without(config.exclude)
    if validation_split is not None:
        validation = open_data(source, validation_split, classes=config.classes)
        # Different folders may hold images with the same name.
        training_images = {sample.image for sample in training.samples}
        if duplicates := [sample.name for sample in validation.samples if sample.image in training_images]:
            raise ConfigurationError(
                f"{source.folder}: {len(duplicates)} of {len(validation)} validation samples ({validation_split}) are also "
                f"training samples ({train_split or validation_split}), for example {min(duplicates)!r}; name disjoint splits"
            )
        return training, validation
    held_out = training.samples[:: config.validation.held_out_every]
    names = {sample.name for sample in held_out}
    return training.subset([sample for sample in training.samples if sample.name not in names]), training.subset(held_out)


def _first_match(names: Sequence[str], pattern: re.Pattern[str]) -> str | None:
    return next((name for name in names if pattern.fullmatch(name)), None)


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
        raise ConfigurationError(
            f"{data.root} has {len(names)} classes, model.num_classes is {count}; they are {list_some(names)}"
        )
    return names

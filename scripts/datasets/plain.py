"""The plain layout: two folders whose files have the same names."""

from pathlib import Path

from scripts.datasets.data import SegmentationData
from scripts.datasets.pairs import NamedFiles, file_masks, pair_all, pair_listed
from scripts.datasets.source import DataSource

NAME = "plain"
ARRANGEMENT = (
    "images/ and masks/ with files of the same names (suffixes may differ), classes.txt or classes.json, "
    "and, if wanted, lists of names in train.txt and val.txt"
)

_IMAGES, _MASKS = "images", "masks"
_SPLITS = ("train", "val", "test")


def recognises(source: DataSource) -> bool:
    return (source.folder / _MASKS).is_dir() and _images(source).is_dir()


def splits(source: DataSource) -> tuple[str, ...]:
    return tuple(split for split in _SPLITS if (source.folder / f"{split}.txt").is_file())


def open_split(source: DataSource, split: str | None, classes: tuple[str, ...] | None) -> SegmentationData:
    images, masks = NamedFiles.find(_images(source)), NamedFiles.find(source.folder / _MASKS)
    reader, names = file_masks(source, classes)
    samples = pair_all(images, masks) if split is None else pair_listed(source.folder / f"{split}.txt", images, masks)
    return SegmentationData(source.folder, NAME, names, samples, reader)


def _images(source: DataSource) -> Path:
    return source.images_folder or source.folder / _IMAGES

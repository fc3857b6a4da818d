"""Cityscapes (Cordts et al. 2016): the fine annotations, in the 19 evaluated classes."""

from pathlib import Path

from scripts.datasets.data import SegmentationData
from scripts.datasets.errors import DataError
from scripts.datasets.masks import VOID, IndexMasks, Sample, index_masks
from scripts.datasets.pairs import require_files
from scripts.datasets.source import DataSource

NAME = "Cityscapes"
ARRANGEMENT = (
    "leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png or *_gtFine_labelIds.png"
)

#: Label ids of the evaluated classes, in order of train id (cityscapesScripts, helpers/labels.py).
_LABEL_IDS = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
CLASSES = tuple(_LABEL_IDS)
_LABELS = 34

_IMAGES, _MASKS = Path("leftImg8bit"), Path("gtFine")
_IMAGE_ENDING, _TRAIN_ENDING, _LABEL_ENDING = "_leftImg8bit.png", "_gtFine_labelTrainIds.png", "_gtFine_labelIds.png"


def recognises(source: DataSource) -> bool:
    return all((source.folder / folder).is_dir() for folder in (_IMAGES, _MASKS))


def splits(source: DataSource) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in (source.folder / _IMAGES).iterdir() if path.is_dir()))


def open_split(source: DataSource, split: str | None, classes: tuple[str, ...] | None) -> SegmentationData:
    del classes
    root = source.folder
    if split is None:
        raise DataError(f"{root / _IMAGES}: holds no folder for a split, such as val")
    images, masks = root / _IMAGES / split, root / _MASKS / split
    by_train_id = next(masks.glob(f"*/*{_TRAIN_ENDING}"), None) is not None
    ending = _TRAIN_ENDING if by_train_id else _LABEL_ENDING
    samples = []
    for image in sorted(images.glob(f"*/*{_IMAGE_ENDING}")):
        name = image.name.removesuffix(_IMAGE_ENDING)
        samples.append(Sample(name, image, masks / image.parent.name / f"{name}{ending}"))
    reader = index_masks(source, CLASSES) if by_train_id or source.mask_values else IndexMasks(_train_ids())
    return SegmentationData(root, NAME, CLASSES, require_files(samples, images), reader)


def _train_ids() -> dict[int, int]:
    """Return train ids by label id; values that are not label ids are left out, so that a check reports them."""
    train_ids = dict.fromkeys(range(_LABELS), VOID)
    return train_ids | {label_id: train_id for train_id, label_id in enumerate(_LABEL_IDS.values())}

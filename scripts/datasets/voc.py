"""PASCAL VOC's layout (Everingham et al. 2010), with any classes."""

from pathlib import Path

from scripts.datasets.data import DataError, Sample, SegmentationData, class_names, read_list, require_files

NAME = "VOC"
LOOKS_LIKE = "JPEGImages/ID.jpg, SegmentationClass/ID.png and lists of ids in SPLIT.txt or ImageSets/Segmentation/SPLIT.txt"

_IMAGES, _MASKS, _LISTS = Path("JPEGImages"), Path("SegmentationClass"), Path("ImageSets", "Segmentation")
#: Lists at the root; other text files there are not lists.
_LIST_PATTERNS = ("train*.txt", "val*.txt", "test*.txt")


def recognises(root: Path) -> bool:
    return all((root / folder).is_dir() for folder in (_IMAGES, _MASKS))


def splits(root: Path) -> tuple[str, ...]:
    return tuple(_lists(root))


def open_split(root: Path, split: str | None) -> SegmentationData:
    if split is None:
        raise DataError(f"{root}: has no list of ids, such as {_LISTS / 'val.txt'} or val.txt")
    listing = _lists(root)[split]
    samples = (Sample(i, root / _IMAGES / f"{i}.jpg", root / _MASKS / f"{i}.png") for i in read_list(listing))
    return SegmentationData(root, NAME, class_names(root), require_files(samples, listing))


def _lists(root: Path) -> dict[str, Path]:
    """Return lists of ids by split; one at the root takes precedence over VOC's own of the same name."""
    at_root = [path for pattern in _LIST_PATTERNS for path in sorted(root.glob(pattern))]
    return {path.stem: path for path in [*sorted((root / _LISTS).glob("*.txt")), *at_root]}

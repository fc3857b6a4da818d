"""The plain layout: two folders with files of the same names."""

from collections.abc import Iterable
from pathlib import Path

from scripts.datasets.data import DataError, Sample, SegmentationData, class_names, read_list, require_files

NAME = "plain"
LOOKS_LIKE = (
    "images/ and masks/ with files of the same names (suffixes may differ), classes.txt or classes.json, "
    "and, if wanted, lists of names in train.txt and val.txt"
)

_IMAGES, _MASKS = "images", "masks"
_SPLITS = ("train", "val", "test")


def recognises(root: Path) -> bool:
    return all((root / folder).is_dir() for folder in (_IMAGES, _MASKS))


def splits(root: Path) -> tuple[str, ...]:
    return tuple(split for split in _SPLITS if (root / f"{split}.txt").is_file())


def open_split(root: Path, split: str | None) -> SegmentationData:
    images, masks = _by_name(root / _IMAGES), _by_name(root / _MASKS)
    listing = root / (f"{split}.txt" if split else _IMAGES)
    # A list may give names with or without suffix.
    names: Iterable[str] = images if split is None else (_named(line, images) for line in read_list(listing))
    samples = (Sample(n, images.get(n, root / _IMAGES / n), masks.get(n, root / _MASKS / f"{n}.png")) for n in names)
    return SegmentationData(root, NAME, class_names(root), require_files(samples, listing))


def _by_name(folder: Path) -> dict[str, Path]:
    """Return files by name without suffix."""
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        if path.stem in files:
            raise DataError(f"{folder}: {files[path.stem].name} and {path.name} have the same name without suffix")
        files[path.stem] = path
    return files


def _named(line: str, images: dict[str, Path]) -> str:
    """Return the name a line of a list means; it may have the suffix of its image."""
    stem = Path(line).stem
    return stem if line not in images and stem in images and images[stem].name == line else line

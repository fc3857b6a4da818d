"""PASCAL VOC's layout (Everingham et al. 2010) with any classes, as also exported by CVAT and Labelme."""

from collections.abc import Collection, Sized
from pathlib import Path

from handler.labels import BACKGROUND
from scripts.datasets.colour_map import LABELMAP
from scripts.datasets.data import SegmentationData
from scripts.datasets.errors import DataError, list_some
from scripts.datasets.masks import Sample, class_index
from scripts.datasets.pairs import NamedFiles, file_masks, pair_all, require_files
from scripts.datasets.source import DataSource
from scripts.text_file import read_lines

NAME = "VOC"
ARRANGEMENT = (
    "JPEGImages/ID.jpg, SegmentationClass/ID.png (or SegmentationClassPNG/) and, if wanted, lists of ids in SPLIT.txt or "
    "ImageSets/Segmentation/SPLIT.txt"
)

_IMAGES, _LISTS = "JPEGImages", Path("ImageSets", "Segmentation")
#: If both exist, older versions of Labelme keep arrays in the second.
_MASKS = ("SegmentationClassPNG", "SegmentationClass")
#: Lists at the root; other text files there are not lists.
_LIST_PATTERNS = ("train*.txt", "val*.txt", "test*.txt")


def recognises(source: DataSource) -> bool:
    return _masks(source) is not None


def splits(source: DataSource) -> tuple[str, ...]:
    return tuple(_lists(source.folder))


def open_split(source: DataSource, split: str | None, classes: tuple[str, ...] | None) -> SegmentationData:
    root, masks_folder = source.folder, _masks(source) or source.folder / _MASKS[-1]
    images_folder = source.images_folder or root / _IMAGES
    if not images_folder.is_dir():
        raise DataError(
            f"{root}: has masks in {masks_folder.name}/ and no photographs in {images_folder}; put them there (CVAT exports "
            "them with 'Save images'), or name their folder with --images or `images:`"
        )
    images, masks = NamedFiles.find(images_folder), NamedFiles.find(masks_folder)
    reader, names = file_masks(source, classes)
    if split is None:
        return SegmentationData(root, NAME, names, pair_all(images, masks), reader)
    listing = _lists(root)[split]
    listed_names = dict.fromkeys(images.name_of(line) for line in read_lines(listing))
    unlabelled = _find_unlabelled(root, listed_names, masks)
    background = class_index(BACKGROUND, names or ())
    if unlabelled and background is None:
        raise DataError(
            f"{listing}: {len(unlabelled)} images have no mask, and no class is background: {list_some(unlabelled)}"
        )
    samples = require_files((_sample(name, images, masks, unlabelled) for name in listed_names), listing)
    return SegmentationData(root, NAME, names, samples, reader, background or 0, _notes(listing, unlabelled, samples))


def _find_unlabelled(root: Path, names: Collection[str], masks: NamedFiles) -> frozenset[str]:
    """Return the listed images without a mask: CVAT writes none for images without annotations."""
    missing = frozenset(name for name in names if name not in masks.paths)
    return missing if (root / LABELMAP).is_file() and len(missing) < len(names) else frozenset()


def _sample(name: str, images: NamedFiles, masks: NamedFiles, unlabelled: Collection[str]) -> Sample:
    mask = None if name in unlabelled else masks.path_of(name, ".png")
    return Sample(name, images.path_of(name, ".jpg"), mask)


def _notes(listing: Path, unlabelled: Collection[str], samples: Sized) -> tuple[str, ...]:
    if not unlabelled:
        return ()
    count = f"{len(unlabelled):,} of {len(samples):,} images have no mask and count as background: CVAT writes none without"
    return (f"{listing}: {count} annotations: {list_some(sorted(unlabelled))}",)


def _masks(source: DataSource) -> Path | None:
    return next((folder for name in _MASKS if (folder := source.folder / name).is_dir()), None)


def _lists(root: Path) -> dict[str, Path]:
    """Return lists of ids by split; a list at the root takes precedence over one of VOC's with the same name."""
    at_root = [path for pattern in _LIST_PATTERNS for path in sorted(root.glob(pattern))]
    return {path.stem: path for path in [*sorted((root / _LISTS).glob("*.txt")), *at_root]}

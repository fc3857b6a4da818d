"""COCO's layout (Lin et al. 2014): polygons and run lengths in JSON, alongside the photographs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from handler.labels import BACKGROUND
from scripts.datasets.coco_annotations import AnnotationFile, Shape, draw
from scripts.datasets.data import SegmentationData
from scripts.datasets.errors import DataError, list_some
from scripts.datasets.masks import Indices, Sample, class_index, upright_size
from scripts.datasets.pairs import class_names, list_lines, require_some_class
from scripts.datasets.source import DataSource

NAME = "COCO"
ARRANGEMENT = (
    "annotations/instances_SPLIT.json, SPLIT/_annotations.coco.json or SPLIT.json with the images in images/, SPLIT/ or "
    "images/SPLIT/"
)

_PREFIX, _ROBOFLOW = "instances_", "_annotations.coco.json"
#: File name prefixes of COCO's annotations for other tasks.
_OTHER_TASKS = ("captions_", "person_keypoints_", "stuff_", "panoptic_", "image_info_")
_COCO_LIST = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
#: A folder with more JSON files at its top level is not a COCO data set.
_MAX_JSON_FILES = 50
_SNIFFED_CHARACTERS = 1 << 16
#: Number of images to look for when searching for their folder.
_PROBED_IMAGES = 20


@dataclass(frozen=True)
class CocoMasks:
    """Masks drawn from annotations, which refer to the upright image, whatever its EXIF orientation."""

    #: (height, width) and the shapes in drawing order, by sample name.
    images: Mapping[str, tuple[tuple[int, int], tuple[Shape, ...]]]
    background: int

    def __call__(self, sample: Sample) -> Indices:
        """Draw the annotations of a sample."""
        (height, width), shapes = self.images[sample.name]
        return draw(shapes, height, width, self.background)


def recognises(source: DataSource) -> bool:
    return source.annotations is not None or bool(_annotation_files(source.folder))


def splits(source: DataSource) -> tuple[str, ...]:
    if isinstance(source.annotations, Path):
        return ()
    return tuple(source.annotations or _annotation_files(source.folder))


def open_split(source: DataSource, split: str | None, classes: tuple[str, ...] | None) -> SegmentationData:
    path = _annotation_file(source, split)
    file = AnnotationFile.read(path)
    classes = classes or class_names(source.folder) or file.class_names()
    require_some_class(str(path), [name for name in file.categories.values() if name != BACKGROUND], classes)
    background = class_index(BACKGROUND, classes)
    if background is None:
        raise DataError(f"{path}: pixels without annotation are background, which is none of the classes {list_some(classes)}")
    paths = _image_paths(source, file, split or _split_name(path))
    sizes = {id_: _size(image, paths[id_]) for id_, image in file.images.items()}
    shapes = file.shapes(file.category_indices(classes), sizes)
    names = _sample_names(file)
    samples = tuple(Sample(names[id_], paths[id_], path) for id_ in file.images)
    masks = CocoMasks({names[id_]: (sizes[id_], shapes[id_]) for id_ in file.images}, background)
    return SegmentationData(source.folder, NAME, classes, samples, masks, background)


def _annotation_file(source: DataSource, split: str | None) -> Path:
    """Return the annotation file of a split from `splits`, or the only one."""
    if isinstance(source.annotations, Path):
        return source.folder / source.annotations
    files = source.annotations or _annotation_files(source.folder)
    return source.folder / files[split or ""]


def _annotation_files(folder: Path) -> dict[str, Path]:
    """Return a folder's annotation files by split, laid out as by COCO, CVAT, Roboflow or Label Studio."""
    coco = sorted(path for path in (folder / "annotations").glob("*.json") if not path.name.startswith(_OTHER_TASKS))
    instances = [path for path in coco if path.name.startswith(_PREFIX)]
    roboflow = sorted(folder.glob(f"*/{_ROBOFLOW}"))
    files = instances or [path for path in coco if _is_coco(path)] or roboflow
    if not files:
        at_root = sorted(folder.glob("*.json"))
        files = [path for path in at_root if _is_coco(path)] if len(at_root) <= _MAX_JSON_FILES else []
    return {_split_name(path): path for path in files}


def _is_coco(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return _COCO_LIST.search(file.read(_SNIFFED_CHARACTERS)) is not None


def _split_name(path: Path) -> str:
    return path.parent.name if path.name == _ROBOFLOW else path.stem.removeprefix(_PREFIX)


def _image_paths(source: DataSource, file: AnnotationFile, split: str) -> dict[Any, Path]:
    """Find the files of all images.

    Raises:
        DataError: there are no images, or files are missing; the message counts them and names the first ones.
    """
    if not file.images:
        raise DataError(f"{file.path}: lists no images")
    names = {id_: _relative_path(str(image["file_name"])) for id_, image in file.images.items()}
    folders = list(dict.fromkeys(_image_folders(source, file.path, split)))
    probed_names = list(names.values())[:_PROBED_IMAGES]
    folder = next((folder for folder in folders if any((folder / name).is_file() for name in probed_names)), None)
    if folder is None:
        candidates = ", ".join(str(folder) for folder in folders if folder.is_dir())
        raise DataError(
            f"{file.path}: its images, such as {probed_names[0]}, are in none of the folders {candidates}; name their "
            "folder with --images or `images:`"
        )
    missing = [str(folder / name) for name in names.values() if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{file.path}: {len(missing):,} of {len(names):,} images are missing:\n{list_lines(missing)}")
    return {id_: folder / name for id_, name in names.items()}


def _image_folders(source: DataSource, path: Path, split: str) -> Iterator[Path]:
    """Yield the folders where the images may be, the likeliest first."""
    if (images_folder := source.images_folder) is not None:
        yield from (images_folder, images_folder / split)
        return
    for parent in (path.parent, path.parent.parent, source.folder):
        for subfolder in (split, f"images/{split}", "images", "", "JPEGImages"):
            yield parent / subfolder


def _relative_path(file_name: str) -> str:
    """Return an image's path relative to its folder; URLs and paths on another machine are reduced to the file name."""
    name = file_name.replace("\\", "/")
    is_absolute_or_url = "://" in name or re.match(r"(/|\.\./|[A-Za-z]:/)", name)
    return PurePosixPath(name).name if is_absolute_or_url and not Path(name).is_file() else name


def _size(image: Mapping[str, Any], path: Path) -> tuple[int, int]:
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else upright_size(path)


def _sample_names(file: AnnotationFile) -> dict[Any, str]:
    """Return a name for each image: its path without suffix, or with the suffix if two paths differ only in it.

    Raises:
        DataError: an image is listed twice.
    """
    paths = {id_: _relative_path(str(image["file_name"])) for id_, image in file.images.items()}
    if len(set(paths.values())) < len(paths):
        raise DataError(f"{file.path}: lists an image more than once")
    names = {id_: PurePosixPath(path).with_suffix("").as_posix() for id_, path in paths.items()}
    return names if len(set(names.values())) == len(names) else paths

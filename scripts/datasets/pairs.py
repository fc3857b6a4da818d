"""Match photographs with their masks by name, and read lists of names."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from scripts.class_names import ClassNamesError, read_class_names
from scripts.datasets.colour_map import read_colour_map
from scripts.datasets.errors import DataError, list_some
from scripts.datasets.masks import ColourMasks, MaskReader, Sample, class_index, index_masks
from scripts.datasets.source import DataSource
from scripts.segment.inputs import image_suffixes
from scripts.text_file import read_lines

_CLASS_FILES = ("classes.txt", "classes.json", "class_names.txt")


@dataclass(frozen=True)
class NamedFiles:
    """The image files in a folder and its subfolders, by relative path without suffix."""

    folder: Path
    paths: Mapping[str, Path]

    @classmethod
    def find(cls, folder: Path) -> "NamedFiles":
        """Find the image files, except hidden ones.

        Raises:
            DataError: two files differ only in their suffix.
        """
        suffixes, paths = image_suffixes() | set(Image.registered_extensions()), dict[str, Path]()
        for path in sorted(_walk(folder)):
            if path.suffix.casefold() not in suffixes:
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in paths:
                raise DataError(f"{folder}: {paths[name].name} and {path.name} have the same name without suffix")
            paths[name] = path
        return cls(folder, paths)

    def name_of(self, line: str) -> str:
        """Return the name meant by a line in a list, which may have a file suffix, quotes or backslashes."""
        line = line[1:-1] if len(line) > 1 and line[0] == line[-1] == '"' else line
        line = line if line in self.paths else line.replace("\\", "/")
        stem = Path(line).with_suffix("").as_posix()
        return stem if line not in self.paths and stem in self.paths and self.paths[stem].name == Path(line).name else line

    def path_of(self, name: str, suffix: str) -> Path:
        """Return the file with that name, or the path it would have with `suffix`."""
        return self.paths.get(name, self.folder / f"{name}{suffix}")


def pair_all(images: NamedFiles, masks: NamedFiles) -> tuple[Sample, ...]:
    """Pair all files in two folders.

    Raises:
        DataError: there are no files, or some have no counterpart; the message counts them.
    """
    without_mask = [name for name in images.paths if name not in masks.paths]
    without_image = [name for name in masks.paths if name not in images.paths]
    faults = [
        f"{len(names):,} of {len(files.paths):,} {kind} have no {partner} of the same name: {list_some(names)}"
        for names, files, kind, partner in ((without_mask, images, "images", "mask"), (without_image, masks, "masks", "image"))
        if names
    ]
    if faults:
        raise DataError(
            f"{images.folder} and {masks.folder}: {'; '.join(faults)}. Add what is missing, or list the samples to use in "
            "train.txt and val.txt"
        )
    return require_files((Sample(name, path, masks.paths[name]) for name, path in images.paths.items()), images.folder)


def pair_listed(listing: Path, images: NamedFiles, masks: NamedFiles) -> tuple[Sample, ...]:
    """Pair the files that a list names.

    Raises:
        DataError: the list is empty, or a file is missing.
    """
    names = [images.name_of(line) for line in read_lines(listing)]
    return require_files((Sample(name, images.path_of(name, ""), masks.path_of(name, ".png")) for name in names), listing)


def require_files(samples: Iterable[Sample], source: Path) -> tuple[Sample, ...]:
    """Check that the files of all `samples` exist; `source` is the list or folder that names them.

    Raises:
        DataError: there are no samples, a name occurs twice, or files are missing; the message counts and lists some of them.
    """
    sample_tuple = tuple(samples)
    if not sample_tuple:
        raise DataError(f"{source}: names no images")
    names = [sample.name for sample in sample_tuple]
    if len(unique := set(names)) < len(names):
        repeated = list(names)
        for name in unique:
            repeated.remove(name)
        raise DataError(f"{source}: has more than one {list_some(sorted(set(repeated)))}")
    missing = [path for sample in sample_tuple for path in (sample.image, sample.mask) if path and not path.is_file()]
    if missing:
        raise DataError(f"{source}: {len(missing):,} of its images and masks are missing:\n{list_lines(map(str, missing))}")
    return sample_tuple


def list_lines(lines: Iterable[str], limit: int = 20) -> str:
    """Return the first of `lines`, one per line, and how many more there are."""
    all_lines = list(lines)
    more = [f"and {len(all_lines) - limit:,} more"] if len(all_lines) > limit else []
    return "\n".join(f"  {line}" for line in [*all_lines[:limit], *more])


def class_names(root: Path) -> tuple[str, ...] | None:
    """Read the class names in `classes.txt`, `classes.json` or Labelme's `class_names.txt`, or return None without one.

    Raises:
        DataError: the file holds no class names.
    """
    path = next((root / name for name in _CLASS_FILES if (root / name).is_file()), None)
    try:
        return None if path is None else read_class_names(path)
    except ClassNamesError as error:
        raise DataError(str(error)) from error


def file_masks(source: DataSource, classes: tuple[str, ...] | None) -> tuple[MaskReader, tuple[str, ...] | None]:
    """Return a reader for masks in image files, and the class names.

    Colours have names, so they follow the order of the caller's `classes`; indices have the data set's own order.

    Raises:
        DataError: a file of names or colours cannot be read, or names other classes.
    """
    names, colour_map = class_names(source.folder), read_colour_map(source.folder)
    if colour_map is None or source.mask_values:
        names = names or (colour_map.classes if colour_map else None)
        return index_masks(source, names or classes), names
    order = classes or names or colour_map.classes
    require_some_class(str(colour_map.path), colour_map.classes, order)
    return ColourMasks(colour_map, order), order


def require_some_class(subject: str, names: Sequence[str], classes: Sequence[str]) -> None:
    """
    Raises:
        DataError: none of `names` except background is one of `classes`.
    """
    if not any(class_index(name, classes) for name in names):
        raise DataError(
            f"{subject}: names {list_some(names)}; none except background is one of the classes {list_some(classes)}"
        )


def _walk(folder: Path) -> Iterable[Path]:
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))

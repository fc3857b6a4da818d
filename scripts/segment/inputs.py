"""Find the photographs to send."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from handler.image.decode import ACCEPTED_FORMATS
from scripts.segment.errors import SegmentingError
from scripts.segment.file_names import ANSWER_FOLDER_MARKS

#: pillow-heif registers these only on request.
_HEIF_SUFFIXES = (".heic", ".heif", ".hif")


@dataclass(frozen=True)
class Photograph:
    path: Path
    #: Path relative to the input folder, or the file's name; the answer is named after it.
    name: str


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes of the formats that the server accepts, in lower case, with the dot."""
    Image.init()
    registered = {suffix for suffix, name in Image.registered_extensions().items() if name in ACCEPTED_FORMATS}
    return frozenset({*registered, *_HEIF_SUFFIXES})


def find_photographs(inputs: Iterable[Path], out: Path) -> list[Photograph]:
    """Return the input files, whatever their names, and the images in the input folders and their subfolders.

    Folders are walked in name order, and links are followed. Hidden files and folders are skipped, as are `out` and all other
    folders of answers below an input.

    Raises:
        SegmentingError: an input is missing, is `out` itself, holds no images or cannot be read.
    """
    # The same file twice under the same name is one photograph.
    return list(dict.fromkeys(photograph for path in inputs for photograph in _photographs(path, os.path.realpath(out))))


def _photographs(path: Path, out: str) -> Sequence[Photograph]:
    try:
        if path.is_file():
            return [Photograph(path, path.name)]
        if not path.exists():
            raise SegmentingError(f"{path}: no such file or folder")
        if os.path.realpath(path) == out:
            raise SegmentingError(f"{path}: is the folder for answers; give --out another one")
        suffixes = image_suffixes()
        files = [file for file in walk_files(path, out) if file.suffix.lower() in suffixes]
    except OSError as error:
        raise SegmentingError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if not files:
        raise SegmentingError(f"{path}: holds no images; these end in {', '.join(sorted(suffixes))}")
    return [Photograph(file, str(file.relative_to(path))) for file in files]


def walk_files(folder: Path, out: str, parents: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the files in `folder` and its subfolders in name order, holding only names in memory.

    Links are followed. Hidden files and folders are skipped, as are the folder whose real path is `out` and all other folders
    of answers below `folder`.

    Raises:
        OSError: a folder cannot be read.
    """
    real_path = os.path.realpath(folder)
    if real_path == out or real_path in parents:  # A link may point to a parent folder.
        return
    names, folders = [], set()
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if entry.is_dir():
                folders.add(entry.name)
    if parents and not ANSWER_FOLDER_MARKS.isdisjoint(names):
        return
    names.sort()
    for name in names:
        if name.startswith("."):
            continue
        if name in folders:
            yield from walk_files(folder / name, out, (*parents, real_path))
        else:
            yield folder / name

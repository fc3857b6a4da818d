"""Read which class each mask colour stands for, from CVAT's `labelmap.txt` or from `colors.txt`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handler.labels import BACKGROUND
from model.metadata import Colour
from scripts.class_names import canonical_name, is_ignored
from scripts.datasets.errors import DataError
from scripts.text_file import read_lines

#: Lines of `label:r,g,b:parts:actions`, as written by CVAT and Datumaro.
LABELMAP = "labelmap.txt"
#: Lines of `name r g b`, separated by spaces, tabs or commas.
COLORS = "colors.txt"
_COLORS_LINE = re.compile(r"(?P<name>.*?\S)[\s,;:=]+(?P<colour>\d+[\s,;]+\d+[\s,;]+\d+)")
_LABELMAP_LINE = re.compile(r"(?P<name>[^:]+):(?P<colour>[\d\s,]*)(?::[^:]*){0,2}")
#: Names for pixels to ignore, in addition to Labelme's.
_IGNORED = {"ignore", "ignored", "void"}


@dataclass(frozen=True)
class ColourMap:
    """A file that names the class of each colour."""

    path: Path
    #: Class names by colour; None for colours to ignore.
    names: Mapping[Colour, str | None]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the file's order, but background first."""
        names = dict.fromkeys(name for name in self.names.values() if name is not None)
        return tuple(sorted(names, key=lambda name: name != BACKGROUND))

    @property
    def has_grey(self) -> bool:
        """Whether a colour other than black is grey, so that grey masks hold colours rather than indices."""
        return any(red == green == blue != 0 for red, green, blue in self.names)


def read_colour_map(root: Path) -> ColourMap | None:
    """Read the colour map of the data set at `root`, or return None if it has none or one without colours.

    Raises:
        DataError: a line cannot be read, two classes have the same colour, or there are two files.
    """
    paths = [root / name for name in (LABELMAP, COLORS) if (root / name).is_file()]
    if len(paths) > 1:
        raise DataError(f"{root}: has {LABELMAP} and {COLORS}; keep one of them")
    if not paths:
        return None
    (path,) = paths
    names: dict[Colour, str | None] = {}
    for line in read_lines(path):
        if line.startswith("#") or (entry := _parse(path, line)) is None:
            continue
        name, colour = entry
        if names.setdefault(colour, name) != name:
            raise DataError(
                f"{path}: {names[colour]} and {name} have the same colour, {format_colour(colour)}; give each its own"
            )
    return ColourMap(path, names) if names else None


def format_colour(colour: Colour) -> str:
    """Return a colour as written in `colors.txt`."""
    return " ".join(map(str, colour))


def _parse(path: Path, line: str) -> tuple[str | None, Colour] | None:
    """Return the name and colour in a line, or None if a labelmap gives the label no colour."""
    is_labelmap = path.name == LABELMAP
    pattern, syntax = (_LABELMAP_LINE, "label:r,g,b:parts:actions") if is_labelmap else (_COLORS_LINE, "`name r g b`")
    match = pattern.fullmatch(line)
    numbers = [int(number) for number in re.findall(r"\d+", match["colour"])] if match else []
    if match and not numbers and is_labelmap:
        return None
    if match is None or len(numbers) != 3 or max(numbers) > 255:
        raise DataError(f"{path}: cannot read the line {line!r}; it must be {syntax}, with numbers from 0 to 255")
    name = canonical_name(match["name"].strip())
    ignored = is_ignored(name) or name.casefold() in _IGNORED
    return None if ignored else name, (numbers[0], numbers[1], numbers[2])

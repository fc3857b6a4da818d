"""Choose the photographs on which a quantized network's value ranges are measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from handler.geometry import RGBImage
from model.strict import ConfigurationError
from scripts.datasets import is_data_set, open_data, splits
from scripts.image_files import find_images, read_image
from scripts.progress import progress

Item = TypeVar("Item")


@dataclass(frozen=True)
class Calibration:
    """Photographs like those to be served; they need no labels."""

    name: str
    #: Photographs on which ranges are measured.
    used: Sequence[Path]
    #: The remaining photographs.
    unused: Sequence[Path]

    @classmethod
    def choose(cls, folder: Path, limit: int) -> "Calibration":
        """Choose up to `limit` evenly spaced photographs from `folder` and its subfolders, without a data set's masks.

        Raises:
            ConfigurationError: the folder does not exist or holds no images.
            DataError: the folder is a data set with missing files.
        """
        if not folder.is_dir():
            raise ConfigurationError(f"{folder}: no such folder; give one with photographs like those to be served")
        if is_data_set(folder):
            data_sets = [open_data(folder, split) for split in splits(folder) or (None,)]
            paths = sorted({sample.image for data in data_sets for sample in data.samples})
        else:
            paths = find_images(folder)
        used = pick_evenly(paths, limit)
        return cls(folder.resolve().name, used, sorted(set(paths) - set(used)))

    def read(self) -> Iterator[RGBImage]:
        """Read the photographs on which ranges are measured.

        Raises:
            ConfigurationError: a photograph cannot be decoded.
        """
        for path in progress(self.used, "calibrating"):
            yield read_image(path)


def pick_evenly(items: Sequence[Item], limit: int) -> list[Item]:
    """Return up to `limit` of `items`, evenly spaced, including the first."""
    count = min(limit, len(items))
    return [items[index * len(items) // count] for index in range(count)]

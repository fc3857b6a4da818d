"""The photographs that a quantized network's ranges of values are measured on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from handler.geometry import RGBImage
from model.strict import ConfigurationError
from scripts.datasets import LAYOUTS, open_data, splits
from scripts.image_files import find_images, read_image
from scripts.progress import progress

Item = TypeVar("Item")


@dataclass(frozen=True)
class Calibration:
    """Photographs like those to be served; they need no labels."""

    name: str
    #: That ranges are measured on.
    used: Sequence[Path]
    #: The rest.
    left: Sequence[Path]

    @classmethod
    def choose(cls, folder: Path, most: int) -> "Calibration":
        """Up to `most` photographs, at even distances, of all in `folder` and below; of a data set, none of its masks.

        Raises:
            ConfigurationError: there is no such folder, or it holds no images.
            DataError: it is a data set that lacks files.
        """
        if not folder.is_dir():
            raise ConfigurationError(f"{folder}: is no folder; give one of photographs like those to be served")
        if any(layout.recognises(folder) for layout in LAYOUTS.values()):
            opened = [open_data(folder, split) for split in splits(folder) or (None,)]
            found = sorted({sample.image for data in opened for sample in data.samples})
        else:
            found = find_images(folder)
        used = evenly(found, most)
        return cls(folder.resolve().name, used, sorted(set(found) - set(used)))

    def pictures(self) -> Iterator[RGBImage]:
        """The photographs used.

        Raises:
            ConfigurationError: one cannot be decoded.
        """
        for path in progress(self.used, "calibrating"):
            yield read_image(path)


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Up to `most` of `items`, at even distances, the first among them."""
    count = min(most, len(items))
    return [items[index * len(items) // count] for index in range(count)]

"""Class names and their colours."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.metadata import CheckpointMetadata, Colour

BACKGROUND = "background"
#: Including torchvision's and Labelme's spellings.
_BACKGROUND_NAMES = {BACKGROUND, "__background__", "_background_"}


def is_background(name: str) -> bool:
    """Whether `name` is a spelling of the background class, in any case."""
    return name.casefold() in _BACKGROUND_NAMES


@dataclass(frozen=True)
class Labels:
    """Names and colours by class index."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...]

    @classmethod
    def from_metadata(cls, metadata: CheckpointMetadata) -> "Labels":
        """Return the names and colours that a checkpoint declares."""
        return cls(metadata.classes, metadata.palette)

    @cached_property
    def background(self) -> int | None:
        """Index of the background class, or None if the model has none."""
        return next((index for index, name in enumerate(self.names) if is_background(name)), None)

    def with_background(self) -> tuple["Labels", int]:
        """Return labels that include a background class, appended if necessary, and its index."""
        if self.background is not None:
            return self, self.background
        return Labels((*self.names, BACKGROUND), (*self.palette, (0, 0, 0))), len(self.names)

    @property
    def dtype(self) -> npt.DTypeLike:
        """The smallest unsigned integer type that holds every index."""
        return np.min_scalar_type(len(self.names) - 1)

    def hex_colour(self, index: int) -> str:
        """Return the colour of a class as `#rrggbb`."""
        return "#{:02x}{:02x}{:02x}".format(*self.palette[index])

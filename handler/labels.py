"""Class names and their colours."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.metadata import CheckpointMetadata, Colour

_BACKGROUND_NAMES = {"background", "__background__"}


@dataclass(frozen=True)
class Labels:
    """Names and colours by class index."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...]

    @classmethod
    def from_metadata(cls, metadata: CheckpointMetadata) -> "Labels":
        return cls(metadata.classes, metadata.palette)

    @property
    def background(self) -> int | None:
        """Index of the class that stands for none of the others, if the label set has one."""
        return next((i for i, name in enumerate(self.names) if name.casefold() in _BACKGROUND_NAMES), None)

    def with_background(self) -> tuple["Labels", int]:
        """These labels and the index of background among them; one is added at the end where there is none."""
        if self.background is not None:
            return self, self.background
        return Labels((*self.names, "background"), (*self.palette, (0, 0, 0))), len(self.names)

    @property
    def dtype(self) -> npt.DTypeLike:
        """The smallest unsigned integer that holds every index."""
        return np.min_scalar_type(len(self.names) - 1)

    def hex_colour(self, index: int) -> str:
        return "#{:02x}{:02x}{:02x}".format(*self.palette[index])

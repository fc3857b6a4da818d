"""An explanation: the evidence in one image for one class."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handler.geometry import RGBImage


@dataclass(frozen=True)
class Explanation:
    """A heat map of the evidence for one class, before it is encoded."""

    #: The upright image.
    image: RGBImage
    class_index: int
    #: The class's name.
    label: str
    #: Float32 h×w on the grid of the network's last features, scaled to a maximum of 1; all 0 if nothing supports the class.
    heat: npt.NDArray[np.float32]
    #: Number of grid cells where the class wins, which are explained; 0 if it wins nowhere, so that all cells are explained.
    cells: int

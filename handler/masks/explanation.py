"""An explanation before it takes any format."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handler.geometry import RGBImage


@dataclass(frozen=True)
class Explanation:
    """Which parts of one image speak for one class, before it takes any format."""

    #: The upright image.
    image: RGBImage
    class_index: int
    #: The class's name.
    label: str
    #: Float32 h×w on the grid of the network's last features, 0..1; its maximum is 1, or all of it 0 where nothing speaks for
    #: the class.
    heat: npt.NDArray[np.float32]
    #: Cells of the network's grid where the class wins: what is explained. 0: nowhere, and all cells are explained.
    cells: int

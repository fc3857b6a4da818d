"""Draw label maps in colour over photographs."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.geometry import RGBImage
from handler.labels import Labels
from scripts.datasets import VOID

#: PASCAL VOC's colour for void.
VOID_COLOUR = (224, 224, 192)
#: Opacity of the colours over the photograph.
_OPACITY = 0.65


def colours(labels: Labels) -> npt.NDArray[np.uint8]:
    """Return colours by class index, void included, uint8 256×3 or longer."""
    palette = np.zeros((max(len(labels.palette), VOID + 1), 3), np.uint8)
    palette[VOID] = VOID_COLOUR
    palette[: len(labels.palette)] = labels.palette
    return palette


def tint(image: RGBImage, mask: npt.NDArray[np.unsignedinteger], labels: Labels) -> RGBImage:
    """Draw the classes' colours over a greyscale copy of the photograph; return uint8 H×W×3.

    Background stays grey: black would look like a class with a dark colour.

    Args:
        image: uint8 RGB, H×W×3.
        mask: class indices, H×W; 255 is void.
    """
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    opacity = np.where(mask == labels.background, 0, _OPACITY)[..., None]
    blended: RGBImage = (opacity * colours(labels)[mask] + (1 - opacity) * grey).astype(np.uint8)
    return blended

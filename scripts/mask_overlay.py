"""Label maps for people to look at."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.geometry import RGBImage
from handler.labels import Labels
from scripts.datasets import VOID

#: PASCAL VOC's own colour for void.
VOID_COLOUR = (224, 224, 192)
#: Of the tint over the photograph.
_OPACITY = 0.65


def colours(labels: Labels) -> npt.NDArray[np.uint8]:
    """Colours by index up to void's, uint8 256×3 or more."""
    palette = np.zeros((max(len(labels.palette), VOID + 1), 3), np.uint8)
    palette[VOID] = VOID_COLOUR
    palette[: len(labels.palette)] = labels.palette
    return palette


def tinted(image: RGBImage, mask: npt.NDArray[np.unsignedinteger], labels: Labels) -> RGBImage:
    """The classes' colours over the photograph's greys, which leave the colours alone.

    Background is left grey: under its black it would look like the classes of dark colours.

    Args:
        image: uint8 RGB, H×W×3.
        mask: class indices, H×W; 255 is void.
    """
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    opacity = np.where(mask == labels.background, 0, _OPACITY)[..., None]
    blended: RGBImage = (opacity * colours(labels)[mask] + (1 - opacity) * grey).astype(np.uint8)
    return blended

"""Refine probabilities with a dense CRF, which moves the edges of segments to edges of the image.

Krähenbühl & Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, 2011. DeepLab's first two
versions used it as their last step (Chen et al. 2015 and 2018). Needs the extra `crf`.
"""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt
from pydantic import Field

from handler import aten
from handler.errors import RefinementUnavailable
from handler.geometry import RGBImage
from model.strict import StrictModel


class CrfSettings(StrictModel):
    """The dense CRF of Krähenbühl & Koltun 2011; lengths are in pixels of the network's input at scale 1.

    Chen et al. (DeepLab, 2015 and 2018) fix the Gaussian kernel and ten iterations, and tune the bilateral kernel on
    validation images of PASCAL VOC. The defaults come from the script they published with DeepLab-LargeFOV.
    """

    iterations: int = Field(default=10, ge=1, le=100)
    #: The appearance kernel: nearby pixels of similar colour (0..255) tend to share a class.
    bilateral_weight: float = Field(default=4.0, ge=0)
    bilateral_sigma_xy: float = Field(default=49.0, gt=0)
    bilateral_sigma_rgb: float = Field(default=5.0, gt=0)
    #: The smoothness kernel: nearby pixels tend to share a class.
    gaussian_weight: float = Field(default=3.0, ge=0)
    gaussian_sigma_xy: float = Field(default=3.0, gt=0)


@dataclass(frozen=True)
class RefinementReport:
    """How an answer was refined, and how long it took."""

    method: str
    seconds: float

    def summary(self) -> dict[str, str | float]:
        """Return the fields shown in answers, with seconds rounded to milliseconds."""
        return {"method": self.method, "seconds": round(self.seconds, 3)}


def import_crf() -> ModuleType:
    """Import and return the module `pydensecrf.densecrf`.

    Raises:
        RefinementUnavailable: the extra `crf` is not installed.
    """
    try:
        from pydensecrf import densecrf
    except ModuleNotFoundError as error:
        raise RefinementUnavailable(
            "option 'refine': 'crf' needs the package pydensecrf2, which this server does not have; "
            "its operator can add it with `pip install pydensecrf2`"
        ) from error
    module: ModuleType = densecrf
    return module


def dense_crf(pixels: RGBImage, probabilities: npt.NDArray[np.float32], settings: CrfSettings) -> npt.NDArray[np.float32]:
    """Return the marginal probabilities of a dense CRF over `pixels` with `probabilities` as its unary term.

    Args:
        pixels: uint8 RGB H×W×3.
        probabilities: float32 C×h×w; interpolated to H×W.

    Returns:
        float32 C×H×W in 0..1, summing to 1 over the classes.

    Raises:
        RefinementUnavailable: the extra `crf` is not installed.
    """
    densecrf = import_crf()
    from pydensecrf.utils import unary_from_softmax

    height, width = pixels.shape[:2]
    classes = probabilities.shape[0]
    unary = unary_from_softmax(aten.interpolate(probabilities, (height, width)))
    field = densecrf.DenseCRF2D(width, height, classes)
    field.setUnaryEnergy(unary)
    field.addPairwiseGaussian(sxy=settings.gaussian_sigma_xy, compat=settings.gaussian_weight)
    field.addPairwiseBilateral(
        sxy=settings.bilateral_sigma_xy,
        srgb=settings.bilateral_sigma_rgb,
        # pydensecrf needs a writable C-ordered buffer.
        rgbim=np.array(pixels, order="C"),
        compat=settings.bilateral_weight,
    )
    return np.array(field.inference(settings.iterations), np.float32).reshape(classes, height, width)

"""Sizes: from the image to the network's input. Half-pixel centres throughout (`align_corners=False`)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.metadata import ResizePolicy

#: Height, width.
Size = tuple[int, int]
#: uint8 RGB, H×W×3.
RGBImage = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PreparedImage:
    """What the network sees, and the size its answer is brought back to.

    The resize maps the whole image onto the whole of `pixels`, so the inverse needs no more than `original_size`.
    """

    pixels: RGBImage
    original_size: Size


def network_size(policy: ResizePolicy, size: Size, scale: float = 1.0) -> Size:
    """The (height, width) at which the network sees an image of `size`: the policy's, its size multiplied by `scale`.

    With `side: short` and `multiple: 1` this is torchvision's rule: the other side is truncated, not rounded.
    """
    short, long = min(size), max(size)
    by_long_side = policy.side == "long" or long > short * policy.max_aspect
    side = round(policy.size * scale)
    target = side if policy.side == "long" else int(side * policy.max_aspect)
    numerator, denominator = (target, long) if by_long_side else (side, short)

    def scaled(length: int) -> int:
        exact = length * numerator / denominator
        if policy.multiple == 1:
            return max(1, int(exact))
        return max(1, round(exact / policy.multiple)) * policy.multiple

    return scaled(size[0]), scaled(size[1])


def prepare(image: RGBImage, policy: ResizePolicy, scale: float = 1.0) -> PreparedImage:
    """Resize `image` (bilinear, antialiased) to the network's resolution, multiplied by `scale`."""
    original = (image.shape[0], image.shape[1])
    height, width = network_size(policy, original, scale)
    if (height, width) == original:
        return PreparedImage(image, original)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return PreparedImage(np.asarray(resized), original)

"""Bilinear interpolation of feature maps, by where the cells of a grid lie in the image."""

from typing import Literal

from torch import Size, Tensor
from torch.nn import functional as F

#: Where cell `i` of `in` cells lies on a grid of `out` cells: at the middle of its share, `(i + 0.5) * out / in - 0.5`; at
#: `i * (out - 1) / (in - 1)`; or at its share's first cell, `i * out / in` (the default of TensorFlow 1).
ResizeRule = Literal["half_pixel", "align_corners", "legacy"]


def resize_rule(*, align_corners: bool, legacy_resize: bool) -> ResizeRule:
    """Return the rule that a network's options ask for; at most one of the two is set."""
    return "align_corners" if align_corners else "legacy" if legacy_resize else "half_pixel"


def resize_bilinear(features: Tensor, size: Size | tuple[int, int], rule: ResizeRule) -> Tensor:
    """Interpolate B×C×h×w to B×C×H×W, where `size` is (H, W); cells beyond the border repeat it."""
    if rule != "legacy":
        return F.interpolate(features, size, mode="bilinear", align_corners=rule == "align_corners")
    # With one cell more on each grid, aligned corners place the others so.
    padded = F.pad(features, (0, 1, 0, 1), mode="replicate")
    return F.interpolate(padded, (size[0] + 1, size[1] + 1), mode="bilinear", align_corners=True)[..., : size[0], : size[1]]

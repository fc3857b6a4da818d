"""Interpolate feature maps bilinearly, with a choice of where a grid's cells lie in the image."""

from typing import Literal

from torch import Size, Tensor
from torch.nn import functional as F

#: The position of cell `i` of `in` cells on a grid of `out` cells: at the centre of its share, `(i + 0.5) * out / in - 0.5`; at
#: `i * (out - 1) / (in - 1)`; or at the first cell of its share, `i * out / in` (TensorFlow 1's default).
ResizeRule = Literal["half_pixel", "align_corners", "legacy"]


def resize_rule(*, align_corners: bool, legacy_resize: bool) -> ResizeRule:
    """Return the rule that a network's options select; at most one of the two may be set."""
    return "align_corners" if align_corners else "legacy" if legacy_resize else "half_pixel"


def resize_bilinear(features: Tensor, size: Size | tuple[int, int], rule: ResizeRule) -> Tensor:
    """Interpolate B×C×h×w to B×C×H×W, where `size` is (H, W); the border is repeated beyond the edges."""
    if rule != "legacy":
        return F.interpolate(features, size, mode="bilinear", align_corners=rule == "align_corners")
    # With one more cell on each grid, aligning corners gives the legacy positions.
    padded = F.pad(features, (0, 1, 0, 1), mode="replicate")
    return F.interpolate(padded, (size[0] + 1, size[1] + 1), mode="bilinear", align_corners=True)[..., : size[0], : size[1]]

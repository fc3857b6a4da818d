"""Labels made on a device, of bounded memory there, so that only they travel, and no interpolated score."""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from handler.geometry import Size
from handler.grid import find_neighbours
from handler.network.engines.transfers import Transfers

#: Interpolated scores held at once: 128 MiB.
_VALUES_AT_ONCE = 1 << 25
#: What indices of so many bytes are on a device, where unsigned integers of two have few operations.
_HELD_AS = {1: torch.uint8, 2: torch.int16}


@torch.inference_mode()
def make_label_map(
    scores: npt.NDArray[np.float32], size: Size, dtype: npt.DTypeLike, transfers: Transfers
) -> npt.NDArray[np.unsignedinteger]:
    """As `handler.masks.label_map.make_label_map`, to which it is equal but for ties.

    Args:
        scores: C×h×w.
        size: of the image.
        dtype: of the labels, `uint8` or `uint16`.
        transfers: to the device.
    """
    height, width = size
    classes, points, _ = scores.shape
    grid = transfers.upload(scores)
    above, below, weight = (transfers.upload(values) for values in find_neighbours(points, height))
    labels = transfers.room(size, _HELD_AS[np.dtype(dtype).itemsize])
    step = max(1, _VALUES_AT_ONCE // (classes * width))
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        on_rows = torch.lerp(grid[:, above[rows]], grid[:, below[rows]], weight[rows, None])
        # Its rows are in place; only the columns are left to interpolate.
        values = F.interpolate(on_rows[None], (on_rows.shape[1], width), mode="bilinear", align_corners=False)[0]
        transfers.fetch(values.max(dim=0).indices.to(labels.dtype), labels[rows])
    transfers.finish()
    return labels.numpy().view(dtype)

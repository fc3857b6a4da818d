"""Compute the label map on a device in bounded memory, so that only labels, not interpolated scores, are copied to the CPU."""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from handler.geometry import Size
from handler.grid import find_neighbours
from handler.network.engines.transfers import Transfers
from handler.strips import row_strips

#: Interpolated scores in memory at once: 128 MiB.
_STRIP_VALUES = 1 << 25
#: Device dtype by label size in bytes; `int16` because few operations support `uint16`.
_DEVICE_DTYPES = {1: torch.uint8, 2: torch.int16}


@torch.inference_mode()
def make_label_map(
    scores: npt.NDArray[np.float32], size: Size, dtype: npt.DTypeLike, transfers: Transfers
) -> npt.NDArray[np.unsignedinteger]:
    """Compute the labels of `handler.masks.label_map.make_label_map` on a device; only ties may differ.

    Args:
        scores: float32 C×h×w.
        size: height and width of the image.
        dtype: type of the labels, `uint8` or `uint16`.
        transfers: copies to and from the device.
    """
    height, width = size
    classes, points, _ = scores.shape
    grid = transfers.upload(scores)
    above, below, weight = (transfers.upload(values) for values in find_neighbours(points, height))
    labels = transfers.allocate(size, _DEVICE_DTYPES[np.dtype(dtype).itemsize])
    for rows in row_strips(height, classes * width, _STRIP_VALUES):
        on_rows = torch.lerp(grid[:, above[rows]], grid[:, below[rows]], weight[rows, None])
        # Only the columns still need interpolation.
        values = F.interpolate(on_rows[None], (on_rows.shape[1], width), mode="bilinear", align_corners=False)[0]
        transfers.start_download(values.max(dim=0).indices.to(labels.dtype), labels[rows])
    transfers.synchronize()
    return labels.numpy().view(dtype)

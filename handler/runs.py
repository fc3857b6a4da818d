"""Run lengths of all segments of an image at once, without a mask for each."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco


def run_lengths(ids: npt.NDArray[np.integer], count: int) -> dict[int, dict[str, Any]]:
    """For each of 0..`count` - 1 that occurs in `ids` (H×W), its mask as COCO's compressed run lengths.

    COCO's runs go down the columns, one column after the other, and begin with pixels that are not of the mask.
    """
    height, width = ids.shape
    down = ids.ravel(order="F")
    starts = np.concatenate([[0], np.flatnonzero(down[1:] != down[:-1]) + 1])
    ends = np.append(starts[1:], down.size)
    owner = down[starts]
    by_owner = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[by_owner], np.arange(count + 1))
    runs = {}
    for each in range(count):
        own = by_owner[bounds[each] : bounds[each + 1]]
        if own.size:
            edges = np.stack([starts[own], ends[own]], axis=1).ravel()
            uncompressed = np.diff(edges, prepend=0).tolist()
            if edges[-1] < down.size:
                uncompressed.append(down.size - edges[-1])
            runs[each] = coco.frPyObjects({"size": [height, width], "counts": uncompressed}, height, width)
    return runs

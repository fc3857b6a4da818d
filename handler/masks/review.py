"""Score how urgently a segmentation should be reviewed: 1 minus the mean IoU that its own probabilities predict.

For a class that labels the cells M of the network's grid, with the probability p in each cell,

    expected IoU = sum of p over M / (number of cells in M + sum of p outside M),

the expected intersection with the truth over the expected union, analogous to the soft Dice confidence of Borges et al. 2024.
Mean confidence predicts the share of correct pixels instead, in which a large and certain background hides small errors.
"""

import numpy as np
import numpy.typing as npt

from handler.masks.label_map import LabelMap


def review_score(label_map: LabelMap, probabilities: npt.NDArray[np.float32]) -> float:
    """Return 1 minus the mean expected IoU of the classes in the image: 0 (certain) to 1 (doubtful).

    Args:
        label_map: class indices, unsigned H×W.
        probabilities: C×h×w on the network's grid.
    """
    classes, *grid = probabilities.shape
    rows, columns = (
        ((np.arange(cells) + 0.5) * (length / cells)).astype(np.intp)
        for cells, length in zip(grid, label_map.shape, strict=True)
    )
    labels = label_map[rows[:, None], columns].astype(np.intp)
    label_probabilities = np.take_along_axis(probabilities, labels[None], 0)
    cells = np.bincount(labels.ravel(), minlength=classes)
    intersection = np.bincount(labels.ravel(), label_probabilities.ravel(), classes)
    union = cells + probabilities.sum((1, 2), dtype=np.float64) - intersection
    present = cells > 0
    return float(np.clip(1 - (intersection[present] / union[present]).mean(), 0, 1))

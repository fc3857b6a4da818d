from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.labels import Labels
from handler.masks.label_map import make_label_map
from handler.masks.segmentation import Segmentation, keep_classes
from model.palette import voc_palette

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))


def segmentation_of(probabilities: npt.NDArray[Any], size: tuple[int, int] | None = None) -> Segmentation:
    values = probabilities.astype(np.float32)
    return Segmentation(None, make_label_map(values, size or values.shape[1:], np.uint8), values, LABELS)


def test_review_is_one_minus_the_expected_mean_iou() -> None:
    result = segmentation_of(np.array([[[0.9, 0.8, 0.3, 0.0]], [[0.1, 0.2, 0.7, 0.6]], [[0.0, 0.0, 0.0, 0.4]]]))
    background = (0.9 + 0.8) / (2 + 0.3)
    cat = (0.7 + 0.6) / (2 + 0.1 + 0.2)

    assert result.review == pytest.approx(1 - (background + cat) / 2)


def test_certain_labels_need_no_review() -> None:
    assert segmentation_of(np.eye(3).reshape(3, 1, 3), (20, 30)).review == pytest.approx(0)


def test_doubt_between_unreported_classes_does_not_count() -> None:
    result = segmentation_of(np.array([[[1.0, 0.0]], [[0.0, 0.6]], [[0.0, 0.4]]]))

    assert result.review > 0.1
    assert keep_classes(result, ()).review == pytest.approx(0)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_review_is_a_fraction_at_any_size(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet([0.3] * 3, (rows, columns)).transpose(2, 0, 1)

    assert 0 <= segmentation_of(probabilities, (height, width)).review <= 1


def scene(objects: int, miss_rate: float, rng: np.random.Generator) -> tuple[Segmentation, float, float]:
    """Draw small objects on a background, missed at `miss_rate`; return also the IoU of the labels and mean confidence."""
    object_map = np.zeros((40, 40), int)
    for row, column in rng.integers(0, 36, (objects, 2)):
        object_map[row : row + 4, column : column + 4] = 1
    mean_probability = np.where(object_map == 1, 1 - miss_rate, 0.02)
    probability = rng.beta(5 * mean_probability, 5 * (1 - mean_probability))
    true_labels = rng.random(object_map.shape) < probability
    result = segmentation_of(np.stack([1 - probability, probability, np.zeros_like(probability)]))
    labels = result.label_map == 1
    ious = [
        (labels & true_labels).sum() / (labels | true_labels).sum(),
        (~labels & ~true_labels).sum() / (~labels | ~true_labels).sum(),
    ]
    return result, float(np.mean(ious)), float(result.probabilities.max(0).mean())


def test_review_ranks_images_by_error_better_than_mean_confidence() -> None:
    rng = np.random.default_rng(0)
    scenes = [scene(objects, miss_rate, rng) for objects in range(1, 21) for miss_rate in (0.05, 0.2, 0.35, 0.5)]
    ious = [iou for _, iou, _ in scenes]

    def agreement(scores: list[float]) -> float:
        """Return the rank correlation of scores with errors."""
        ranks = [np.argsort(np.argsort(values)) for values in (scores, [1 - iou for iou in ious])]
        correlations: Any = np.corrcoef(np.stack(ranks))
        return float(correlations[0, 1])

    assert agreement([result.review for result, _, _ in scenes]) > 0.9
    assert agreement([1 - confidence for _, _, confidence in scenes]) < 0.6

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handler.geometry import Size
from handler.masks import label_map as labelmap
from handler.network.engines import device_labels
from handler.network.engines.transfers import Transfers

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


def transfers(device: str) -> Transfers:
    return Transfers(torch.device(device))


def random_scores(classes: int, grid: Size, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(classes, *grid)).astype(np.float32)


def assert_equal_except_ties(labels: npt.NDArray[np.unsignedinteger], scores: npt.NDArray[np.float32], size: Size) -> None:
    expected = labelmap.make_label_map(scores, size, labels.dtype)
    values = torch.nn.functional.interpolate(torch.from_numpy(scores)[None], size, mode="bilinear", align_corners=False)
    best, second = values[0].topk(2, dim=0).values.numpy()
    assert labels.shape == size
    assert (best - second)[labels != expected].max(initial=0) < 1e-5


@pytest.mark.parametrize("device", DEVICES)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(0, 2**32 - 1),
)
def test_labels_equal_the_cpus_except_for_ties(device: str, grid: Size, size: Size, seed: int) -> None:
    scores = random_scores(4, grid, seed)

    labels = device_labels.make_label_map(scores, size, np.uint8, transfers(device))

    assert labels.dtype == np.uint8
    assert_equal_except_ties(labels, scores, size)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("strip_values", [1, 1000, 4999])
def test_strips_do_not_change_the_labels(device: str, strip_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, size = random_scores(5, (7, 8)), (61, 47)
    expected = device_labels.make_label_map(scores, size, np.uint8, transfers(device))
    monkeypatch.setattr(device_labels, "_STRIP_VALUES", strip_values)

    in_strips = device_labels.make_label_map(scores, size, np.uint8, transfers(device))

    np.testing.assert_array_equal(in_strips, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_more_than_256_classes_are_distinguished(device: str) -> None:
    winners = np.array([[0, 255, 256], [299, 44, 1]])
    scores = np.zeros((300, 2, 3), np.float32)
    np.put_along_axis(scores, winners[None], 1, 0)

    labels = device_labels.make_label_map(scores, (2, 3), np.uint16, transfers(device))

    assert labels.dtype == np.uint16
    assert labels.tolist() == winners.tolist()

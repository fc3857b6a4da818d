"""Operators called directly in PyTorch's library give the same bits as its Python package."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from handler import aten
from tests.support import ROOT

SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))
GRIDS = st.tuples(st.integers(1, 30), st.integers(1, 40), st.integers(1, 40))

WITHOUT_THE_PACKAGE = """
import sys
import numpy as np
from handler import aten
assert aten.softmax(np.zeros((2, 1), np.float32)).tolist() == [[0.5], [0.5]]
aten.set_threads(1)
assert "torch" not in sys.modules
import torch
assert torch.get_num_threads() == 1
"""


@pytest.fixture(scope="module", params=["library", "package"])
def operators(request: pytest.FixtureRequest) -> Iterator[None]:
    path = aten._library_path()
    assert path is not None
    implementation: aten._Operators = aten._Library(path) if request.param == "library" else aten._Package()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aten, "_operators", lambda: implementation)
        yield


def floats(shape: tuple[int, ...], seed: int = 0) -> aten.Floats:
    return (np.random.default_rng(seed).normal(size=shape) * 5).astype(np.float32)


def pixels(size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)


@pytest.mark.usefixtures("operators")
@given(size=SIZES, target=SIZES)
def test_resizing_equals_pytorchs(size: tuple[int, int], target: tuple[int, int]) -> None:
    image = pixels(size)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    expected = F.interpolate(planes, target, mode="bilinear", antialias=True, align_corners=False)

    np.testing.assert_array_equal(aten.resize_antialiased(image, target), expected[0].permute(1, 2, 0).numpy())


@pytest.mark.usefixtures("operators")
@given(shape=GRIDS, target=SIZES)
def test_interpolation_equals_pytorchs(shape: tuple[int, int, int], target: tuple[int, int]) -> None:
    planes = floats(shape)
    expected = F.interpolate(torch.from_numpy(planes)[None], target, mode="bilinear", align_corners=False)[0]

    np.testing.assert_array_equal(aten.interpolate(planes, target), expected.numpy())


@pytest.mark.usefixtures("operators")
@given(shape=GRIDS)
def test_softmax_logarithm_and_lerp_equal_pytorchs(shape: tuple[int, int, int]) -> None:
    values, end_values, weight = floats(shape), floats(shape, seed=1), np.random.default_rng(0).random(shape[1:], np.float32)
    tensors = [torch.from_numpy(array) for array in (values, end_values, weight)]

    np.testing.assert_array_equal(aten.softmax(values), torch.softmax(tensors[0], dim=0).numpy())
    np.testing.assert_array_equal(aten.log(abs(values)), tensors[0].abs().log().numpy())
    np.testing.assert_array_equal(aten.lerp(values, end_values, weight), torch.lerp(*tensors).numpy())


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("width", [1, 5])
def test_arrays_may_be_mirrored_or_read_only(width: int) -> None:
    image, planes = pixels((4, width)), floats((3, 4, width))
    image.flags.writeable = planes.flags.writeable = False

    mirrored = aten.resize_antialiased(image[:, ::-1], (3, 3)), aten.interpolate(planes[:, :, ::-1], (3, 3))

    copies = aten.resize_antialiased(image[:, ::-1].copy(), (3, 3)), aten.interpolate(planes[:, :, ::-1].copy(), (3, 3))
    for result, expected in zip(mirrored, copies, strict=True):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.usefixtures("operators")
def test_a_refused_call_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"(?i)size|dimension"):
        aten.interpolate(floats((3, 4, 0)), (2, 2))


@pytest.mark.slow
def test_the_library_is_used_without_the_package_and_shared_with_it_later() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_THE_PACKAGE], cwd=ROOT, check=True)


def test_without_a_usable_library_the_package_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aten, "_library_path", lambda: tmp_path / "libtorch_cpu.so")

    assert isinstance(aten._load_operators(), aten._Package)

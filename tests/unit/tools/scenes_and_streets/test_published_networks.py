from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model import CheckpointError, build_model, load_state_dict
from scripts.training.config import TrainingConfig
from tests.unit.tools.scenes_and_streets import folded_networks
from tests.unit.tools.scenes_and_streets.folded_networks import FoldedLayers
from tools.scenes_and_streets.__main__ import FOLDER
from tools.scenes_and_streets.published_networks import PUBLISHED, build_published, read_published
from tools.scenes_and_streets.start_states import move_kernels, saturation_matrix
from tools.scenes_and_streets.taught_weights import PublishedTeacher

pytestmark = pytest.mark.slow

REFERENCE_NETWORKS: dict[str, Callable[[FoldedLayers, Tensor], Tensor]] = {
    "scenes": folded_networks.scenes,
    "streets": folded_networks.streets,
}


@pytest.fixture(params=PUBLISHED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_logits_equal_the_published_networks(name: str, tmp_path: Path) -> None:
    published = PUBLISHED[name]
    side = 16 * 5 + published.side % 16
    image, layers = torch.randn(1, 3, side, side), FoldedLayers()
    with torch.inference_mode():
        expected = REFERENCE_NETWORKS[name](layers, image)
    save_file(layers.weights, tmp_path / "folded.safetensors")

    with torch.inference_mode():
        logits = build_published(tmp_path / "folded.safetensors", published)(image)["out"]

    torch.testing.assert_close(logits, expected[:, published.untrained :], atol=1e-4 * float(expected.std()), rtol=1e-3)
    assert logits.shape[1] == len(published.classes) == len(published.palette) == len(set(published.palette))


def test_the_published_state_fits_the_recipes_network(name: str, tmp_path: Path) -> None:
    published, layers = PUBLISHED[name], FoldedLayers()
    side = 32 + published.side % 16
    with torch.inference_mode():
        REFERENCE_NETWORKS[name](layers, torch.randn(1, 3, side, side))
    save_file(layers.weights, tmp_path / "folded.safetensors")

    recipe = TrainingConfig.read(FOLDER / f"{name}.yaml")
    assert recipe.model == published.trained
    assert (recipe.palette, recipe.normalization) == (published.palette, published.normalization)
    start = published.start_state(read_published(tmp_path / "folded.safetensors", published))
    load_state_dict(build_model(published.trained), start, source="start")


@pytest.mark.parametrize(("name", "size"), [("scenes", (512, 384)), ("streets", (49, 65))])
def test_the_teacher_pads_images_as_the_published_network_expects(name: str, size: tuple[int, int]) -> None:
    """`scenes` was trained on squares padded with the mean colour, `streets` on sizes with remainder 1 modulo 16."""

    class Recorder(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            self.images = images
            return {"out": images}

    network, images = Recorder(), torch.randn(1, 3, *size)
    teacher = PublishedTeacher(network, PUBLISHED[name])  # type: ignore[arg-type]

    logits = teacher(images[..., : size[1] - 1] if name == "streets" else images)

    assert logits.shape[-2] == size[0]
    assert tuple(network.images.shape[-2:]) == {"scenes": (512, 512), "streets": size}[name]
    if name == "scenes":
        torch.testing.assert_close(network.images[..., :384], images)
        assert not network.images[..., 384:].any()


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    save_file({"conv9.weight": torch.zeros(1, 1, 1, 1), "conv9.bias": torch.zeros(1)}, tmp_path / "other.safetensors")

    with pytest.raises(CheckpointError, match=r"other\.safetensors: has a layer 'conv9'"):
        read_published(tmp_path / "other.safetensors", PUBLISHED["scenes"])


@pytest.mark.parametrize("cells", [0.0, 0.375, 1.0, 1.5])
def test_a_moved_kernel_reads_a_slope_further_right_and_down(cells: float) -> None:
    kernels = torch.randn(2, 1, 3, 3)
    slope = torch.arange(9.0) + 3 * torch.arange(9.0)[:, None]
    image = slope.expand(1, 2, 9, 9)

    moved = torch.conv2d(image, move_kernels(kernels, cells), groups=2)

    if cells <= 1:  # Beyond that, the extrapolation is bounded.
        torch.testing.assert_close(moved, torch.conv2d(image + 4 * cells, kernels, groups=2), atol=1e-3, rtol=1e-4)
    assert moved.isfinite().all()


def test_muting_keeps_grey_and_reduces_colour() -> None:
    grey, red = torch.tensor([0.3, 0.3, 0.3]), torch.tensor([1.0, 0.0, 0.0])

    torch.testing.assert_close(saturation_matrix() @ grey, grey)
    assert (saturation_matrix() @ red).std() < 0.7 * red.std()

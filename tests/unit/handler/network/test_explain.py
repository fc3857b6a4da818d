import weakref

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from handler.errors import ExplanationUnavailable, InvalidOption
from handler.geometry import RGBImage
from handler.labels import Labels
from handler.limits import Limits
from handler.network.engines import Engine, EngineOptions, Region
from handler.network.engines.torch_engine import TorchEngine
from handler.network.explain import choose_region, explain, scale_to_unit
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model import Checkpoint, DeepLabV3, ModelConfig, ResizePolicy, build_model
from model.architectures import ARCHITECTURES
from scripts.package import DEFAULT_CHECKPOINT
from scripts.samples import write_samples
from tests.engines import MirrorEngine
from tests.support import CLASSES, metadata, noise

CELL = 16
#: Classes × channels: background reads red, cat reads green against blue, dog reads nothing.
WEIGHTS = np.array([[1, 0, 0], [0, 1, -0.5], [0, 0, 0]], np.float32)


class MeanColours(nn.Module):
    """Features that are the mean red, green and blue of each 16×16 cell, in -1..1."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": nn.functional.avg_pool2d(images, CELL)}


def linear_engine() -> TorchEngine:
    """Build a DeepLab whose logits are `WEIGHTS` times the mean colours, so that its Grad-CAM can be worked out by hand."""
    network = DeepLabV3("mobilenet_v2", len(CLASSES), output_stride=CELL)
    classifier = nn.Conv2d(3, len(CLASSES), 1, bias=False)
    classifier.weight.data = torch.from_numpy(WEIGHTS)[..., None, None]
    network.backbone = MeanColours()
    network.classifier = classifier  # type: ignore[assignment]
    model_metadata = metadata(normalization={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)})
    return TorchEngine(Checkpoint(network, model_metadata), EngineOptions())


def pipeline(engine: Engine) -> Pipeline:
    model_metadata = metadata(resize=ResizePolicy(side="long", size=64))
    return Pipeline(engine, model_metadata, ModelIdentity("m", "1"), Limits())


@pytest.fixture(scope="module")
def default_pipeline() -> Pipeline:
    return Pipeline.load(DEFAULT_CHECKPOINT, HandlerSettings(), ModelIdentity("deeplabv3", "1.0"))


@pytest.fixture(scope="module")
def chelsea(tmp_path_factory: pytest.TempPathFactory) -> RGBImage:
    paths = {path.stem: path for path in write_samples(tmp_path_factory.mktemp("samples"))}
    return np.asarray(Image.open(paths["chelsea"]).convert("RGB"))


@pytest.fixture
def colours() -> RGBImage:
    """Draw 64×64 pixels of four by four cells: red on the left, then green, blue and pink."""
    cells = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 255]]], np.uint8)
    return np.kron(cells, np.ones((64, CELL, 1), np.uint8))


@pytest.mark.parametrize("class_index", [0, 1])
def test_the_map_follows_the_paper(colours: RGBImage, class_index: int) -> None:
    features = colours[::CELL, ::CELL].transpose(2, 0, 1) / 127.5 - 1
    logits = np.einsum("kc,chw->khw", WEIGHTS, features)
    winning_cells = logits.argmax(0) == class_index
    # The sum of a class's logits over M has the gradient w_c in each cell of M, none elsewhere; alpha_c is its mean.
    alpha = WEIGHTS[class_index] * winning_cells.mean()
    activation = np.maximum(np.einsum("c,chw->hw", alpha, features), 0)

    result = pipeline(linear_engine()).explanation(colours, class_index)

    np.testing.assert_allclose(result.heat, activation / activation.max(), atol=1e-6)
    assert result.heat.dtype == np.float32
    assert (result.class_index, result.label, result.cells) == (class_index, CLASSES[class_index], winning_cells.sum())


def test_only_the_cells_that_the_class_wins_are_explained(colours: RGBImage) -> None:
    regions: list[Region] = []

    def choose(logits: npt.NDArray[np.float32]) -> Region:
        regions.append(Region(1, logits.argmax(0) == 1))
        return regions[0]

    region, activation = linear_engine().class_activation(colours, choose)

    np.testing.assert_array_equal(region.winning_cells, [[False, True, False, False]] * 4)
    assert region is regions[0]
    # 4 of 16 cells; green is 1 and blue is -1 there.
    np.testing.assert_allclose(activation[:, 1], 0.25 * 1.5, rtol=1e-6)


def test_a_class_that_wins_nowhere_is_explained_over_the_whole_grid() -> None:
    pinks = np.array([[[255, 200, 255]], [[255, 100, 255]]], np.uint8)

    result = pipeline(linear_engine()).explanation(np.kron(pinks, np.ones((32, 64, 1), np.uint8)), 1)

    assert result.cells == 0
    assert result.heat.tolist() == [[1] * 4] * 2 + [[0] * 4] * 2


def test_without_evidence_for_a_class_the_map_is_zero(colours: RGBImage) -> None:
    result = pipeline(linear_engine()).explanation(colours, CLASSES.index("dog"))

    np.testing.assert_array_equal(result.heat, np.zeros((4, 4), np.float32))


@pytest.mark.parametrize(
    ("winners", "expected"),
    [([1, 2, 2, 0, 0, 0], 2), ([0, 0, 0, 0, 0, 1], 1), ([0, 0], 0), ([1, 1, 2, 2], 1)],
)
def test_by_default_the_largest_class_is_explained_and_background_last(winners: list[int], expected: int) -> None:
    logits = np.eye(3, dtype=np.float32)[:, winners][:, None]

    region = choose_region(logits, class_index=None, background=0)

    assert region.class_index == expected
    assert region.winning_cells.tolist() == [[winner == expected for winner in winners]]


def test_without_a_background_every_class_counts() -> None:
    logits = np.eye(3, dtype=np.float32)[:, [0, 0, 1]][:, None]

    assert choose_region(logits, class_index=None, background=None).class_index == 0


def test_scaling_keeps_a_map_of_zeros() -> None:
    assert scale_to_unit(np.zeros((1, 2), np.float32)).tolist() == [[0, 0]]
    assert scale_to_unit(np.array([[1, 4]], np.float32)).tolist() == [[0.25, 1]]


@pytest.mark.parametrize("class_index", [-1, 3])
def test_a_class_that_does_not_exist_is_refused(class_index: int) -> None:
    with pytest.raises(InvalidOption, match=rf"class {class_index} .*0 to 2"):
        pipeline(linear_engine()).explanation(noise(64, 64), class_index)


def test_an_engine_without_gradients_refuses_explanations() -> None:
    engine = MirrorEngine()

    with pytest.raises(ExplanationUnavailable, match=r"'test'.*'engine: torch'") as error:
        pipeline(engine).explanation(noise(64, 64))
    assert error.value.status == 501
    assert engine.batches == []


@pytest.mark.slow
def test_the_cat_is_hotter_than_its_surroundings(default_pipeline: Pipeline, chelsea: RGBImage) -> None:
    cat = default_pipeline.segment(chelsea).probabilities.argmax(0) == default_pipeline.labels.names.index("cat")

    result = default_pipeline.explanation(chelsea)

    assert result.label == "cat"
    assert result.heat.max() == 1
    assert result.heat[cat].mean() > 3 * result.heat[~cat].mean()


@pytest.mark.slow
def test_an_explanation_changes_no_bit_of_later_answers(default_pipeline: Pipeline, chelsea: RGBImage) -> None:
    before = default_pipeline.segment(chelsea).probabilities.tobytes()

    default_pipeline.explanation(chelsea, 12)

    assert default_pipeline.segment(chelsea).probabilities.tobytes() == before


def test_an_explanation_leaves_nothing_in_the_network() -> None:
    network = build_model(metadata().model)
    engine = TorchEngine(Checkpoint(network, metadata()), EngineOptions())
    inputs: list[weakref.ref[Tensor]] = []
    network.last_features_reader.register_forward_pre_hook(lambda _, args: inputs.append(weakref.ref(args[0])))

    engine.class_activation(noise(64, 64), lambda logits: Region(1, logits.argmax(0) == 1))

    assert [reference() for reference in inputs] == [None]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module.training for module in network.modules())


# Only the head is differentiated. tests/unit/model/test_architectures.py tests that it reads the last features of every
# backbone, with a module that reads nothing else, so one small backbone is enough.
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_can_be_explained(architecture: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(architecture=architecture, backbone="mobilenet_v2", num_classes=len(CLASSES), output_stride=16)
    network = build_model(config)
    engine = TorchEngine(Checkpoint(network, metadata()), EngineOptions())
    labels, policy = Labels.from_metadata(metadata()), ResizePolicy(side="long", size=96, multiple=16)

    result = explain(noise(64, 96), 1, engine=engine, labels=labels, policy=policy)

    assert result.heat.shape == (64 // config.output_stride, 96 // config.output_stride)
    assert result.heat.min() >= 0
    assert result.heat.max() in (0, 1)

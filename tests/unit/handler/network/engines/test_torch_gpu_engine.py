"""The GPU engine: on the CPU everything except CUDA graphs and pinned memory, and on a GPU where available."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from handler.geometry import RGBImage
from handler.image.decode import decode_image
from handler.limits import Limits
from handler.masks.label_map import make_label_map
from handler.network.engines import (
    Engine,
    EngineOptions,
    ModelFiles,
    Precision,
    build_engine,
    reference_engine,
)
from handler.network.engines.replays import Forward, Shape
from handler.network.engines.torch_engine import TorchEngine
from handler.network.engines.torch_gpu_engine import TorchGpuEngine
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model import Checkpoint, DeepLabV3, ResizePolicy, load_checkpoint
from model.strict import ConfigurationError
from scripts.package import DEFAULT_CHECKPOINT
from scripts.samples import write_samples
from tests.support import CLASSES, metadata

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Colours(nn.Module):
    """A backbone of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 8, 3, stride=16, padding=1), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, random_images: Tensor) -> dict[str, Tensor]:
        return {"out": self.layer(random_images)}


class ImagePooling(nn.Module):
    """Add the mean of all cells to each cell, like ASPP's image pooling."""

    def forward(self, features: Tensor) -> Tensor:
        return features + nn.functional.interpolate(features.mean((2, 3), keepdim=True), features.shape[-2:])


def small_checkpoint() -> Checkpoint:
    """Return a checkpoint of a few small layers."""
    torch.manual_seed(0)
    network = DeepLabV3("mobilenet_v2", len(CLASSES), output_stride=16)
    network.backbone = Colours()
    depthwise, pointwise = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, len(CLASSES), 1)
    network.classifier = nn.Sequential(ImagePooling(), depthwise, pointwise)  # type: ignore[assignment]
    return Checkpoint(network.eval(), metadata(resize=ResizePolicy(side="long", size=64)))


def random_images(count: int, height: int, width: int) -> RGBImage:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def cpu_engine(checkpoint: Checkpoint, precision: Precision = "float32", **options: Any) -> TorchGpuEngine:
    return TorchGpuEngine(checkpoint, EngineOptions(precision=precision), CPU, **options)


@pytest.fixture(scope="module")
def engine() -> TorchGpuEngine:
    return cpu_engine(small_checkpoint())


@pytest.fixture(scope="module")
def reference() -> TorchEngine:
    return TorchEngine(small_checkpoint(), EngineOptions())


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> RGBImage:
    """Return the photograph at half its size."""
    (path,) = write_samples(tmp_path_factory.mktemp("samples"), ["astronaut"])
    return decode_image(path.read_bytes(), Limits())[::2, ::2]


@pytest.mark.parametrize("shape", [(1, 48, 64), (1, 64, 48), (3, 64, 64), (8, 16, 64), (1, 5, 3)])
def test_logits_equal_the_reference(engine: TorchGpuEngine, reference: TorchEngine, shape: tuple[int, int, int]) -> None:
    pixels = random_images(*shape)

    np.testing.assert_allclose(engine.infer(pixels), reference.infer(pixels), atol=1e-5)


def test_a_batch_gives_the_same_logits_as_single_images(engine: TorchGpuEngine) -> None:
    pixels = random_images(engine.max_batch, 48, 64)

    logits = engine.infer(pixels)

    np.testing.assert_allclose(logits, np.concatenate([engine.infer(image[None]) for image in pixels]), atol=1e-5)


def test_the_usual_sizes_are_captured_before_the_first_request() -> None:
    shapes: list[Shape] = []

    def capture(forward: Forward, shape: Shape) -> Forward:
        shapes.append(shape)
        return forward

    cpu_engine(small_checkpoint(), capture=capture)

    assert shapes == [(1, 48, 64, 3), (1, 64, 48, 3)]


def test_an_answer_is_not_overwritten_by_the_next(engine: TorchGpuEngine) -> None:
    first = engine.infer(random_images(1, 48, 64))
    before = first.copy()

    engine.infer(255 - random_images(1, 48, 64))

    np.testing.assert_array_equal(first, before)


def test_bfloat16_labels_nearly_equal_the_reference(astronaut: RGBImage) -> None:
    checkpoint = load_checkpoint(DEFAULT_CHECKPOINT)
    pixels, size = astronaut[None], (astronaut.shape[0], astronaut.shape[1])
    # The engine warms up at this size, in a format that is slow on many processors.
    policy = checkpoint.metadata.resize.model_copy(update={"size": 64})

    engine = cpu_engine(replace(checkpoint, metadata=checkpoint.metadata.model_copy(update={"resize": policy})), "bfloat16")
    reference = TorchEngine(checkpoint, EngineOptions())
    labels, expected = (make_label_map(network.infer(pixels)[0], size, np.uint8) for network in (engine, reference))

    assert engine.precision == "bfloat16"
    assert (labels == expected).mean() >= 0.995


def test_the_checkpoints_network_is_not_modified() -> None:
    checkpoint = small_checkpoint()
    before = {name: value.clone() for name, value in checkpoint.network.state_dict().items()}

    cpu_engine(checkpoint, "bfloat16").infer(random_images(1, 48, 64))

    for name, value in checkpoint.network.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


def test_only_depthwise_convolutions_bypass_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU the setting changes nothing else, so it can be watched there."""
    used_cudnn: dict[bool, set[bool]] = {True: set(), False: set()}
    convolve = nn.Conv2d._conv_forward

    def watch(module: nn.Conv2d, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        used_cudnn[module.groups > 1].add(torch.backends.cudnn.enabled)
        outputs: Tensor = convolve(module, features, weight, bias)
        return outputs

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", watch)
    engine = cpu_engine(small_checkpoint())

    engine.infer(random_images(1, 48, 64))

    assert used_cudnn == {True: {False}, False: {True}}
    assert torch.backends.cudnn.enabled


def test_the_engine_makes_labels_and_has_no_gradients(engine: TorchGpuEngine) -> None:
    assert type(engine).make_label_map is not Engine.make_label_map
    assert not engine.has_gradients


def test_int8_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"precision 'int8': .*'auto' or 'bfloat16'"):
        cpu_engine(small_checkpoint(), "int8")


@pytest.fixture(scope="module")
def gpu_engine() -> TorchGpuEngine:
    """Return an engine in this GPU's best precision, with real CUDA graphs."""
    engine = build_engine("auto", ModelFiles(DEFAULT_CHECKPOINT), EngineOptions(gpu_id=0))
    assert isinstance(engine, TorchGpuEngine)
    return engine


@needs_gpu
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_gpu_labels_equal_the_cpus(precision: Precision, astronaut: RGBImage) -> None:
    files = ModelFiles(DEFAULT_CHECKPOINT)
    engine = build_engine("torch", files, EngineOptions(gpu_id=0, precision=precision))
    size = (astronaut.shape[0], astronaut.shape[1])
    expected = make_label_map(reference_engine(files, EngineOptions()).infer(astronaut[None])[0], size, np.uint8)

    # The second is captured, the third replayed.
    labels = [make_label_map(engine.infer(astronaut[None])[0], size, np.uint8) for _ in range(3)]

    required = 0.9999 if engine.precision == "float32" else 0.995
    assert min((label_map == expected).mean() for label_map in labels) >= required


@needs_gpu
def test_graphs_that_share_their_memory_can_be_replayed_in_any_order(gpu_engine: TorchGpuEngine) -> None:
    # More shapes than graphs are kept.
    pixels = [random_images(1 + index % 3, 64 + 16 * index, 96) for index in range(20)]
    first = [gpu_engine.infer(batch) for batch in pixels]

    for order in (range(20), range(19, -1, -1), (3, 17, 3, 0, 19, 4)):
        for index in order:
            np.testing.assert_allclose(gpu_engine.infer(pixels[index]), first[index], atol=0.5)


@needs_gpu
def test_explanations_also_run_on_the_gpu(astronaut: RGBImage) -> None:
    pipeline = Pipeline.load(DEFAULT_CHECKPOINT, HandlerSettings(), ModelIdentity("m", "1"), gpu_id=0)

    assert pipeline.engine.name == "torch"
    assert pipeline.explanation(astronaut).heat.max() > 0

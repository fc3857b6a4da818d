"""Networks of the family in every file format, run with that format's own runtime."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from handler.network.engines.openvino_graph import core
from handler.network.engines.openvino_runtime import ov
from model import Checkpoint, CheckpointMetadata, ModelConfig, ResizePolicy, build_model
from model.palette import voc_palette
from scripts.export.network import PixelsToLabels, describe, label_type
from scripts.export.targets import ONNX, OPENVINO, GraphFormat
from scripts.model_table import TABLE, identifier
from tests.support import CLASSES, metadata, noise

needs_onnx = pytest.mark.skipif(not find_spec("onnx"), reason="the extra export is missing")
#: Other tests convert networks for OpenVINO when they package them.
FORMATS = [pytest.param(ONNX, marks=needs_onnx), pytest.param(OPENVINO, marks=pytest.mark.exhaustive)]
SUFFIX_IDS = [".onnx", ".xml"]


def small(**options: object) -> ModelConfig:
    return ModelConfig.model_validate({"output_stride": 16, "num_classes": len(CLASSES), **options})


#: Each has something the others lack: TensorFlow's resizing and padding in MobileNet-EdgeTPU, padding that depends on the
#: image's size, another library's decoder.
NETWORKS = [
    small(
        architecture="deeplabv3plus",
        backbone="mobilenet_edgetpu_075",
        separable=True,
        atrous_rates=(),
        legacy_resize=True,
        trailing_padding=(2, 4, 8, 16),
    ),
    small(architecture="deeplabv3", backbone="timm:tf_mobilenetv3_small_minimal_100", separable=True),
    small(architecture="smp_deeplabv3plus", backbone="mobilenet_v2"),
]
#: For `--exhaustive`: in addition to scripts.model_table's networks, other backbones and aligned corners.
MORE_NETWORKS = [
    small(architecture="deeplabv3plus", backbone="mobilenet_v2", low_level_tap="depthwise", trailing_padding=(2, 4)),
    small(architecture="deeplabv3", backbone="mobilenet_v2_vainf"),
    small(architecture="deeplabv3", backbone="mobilenet_v2_jfzhang95", output_stride=8, align_corners=True),
    small(architecture="deeplabv3plus", backbone="timm:tf_efficientnet_lite2", separable=True),
    *(row.model_copy(update={"num_classes": len(CLASSES)}) for row in TABLE),
]
EXHAUSTIVE = [pytest.param(config, marks=pytest.mark.exhaustive, id=identifier(config)) for config in MORE_NETWORKS]


@pytest.fixture(scope="module", params=[*(pytest.param(network, id=identifier(network)) for network in NETWORKS), *EXHAUSTIVE])
def network(request: pytest.FixtureRequest) -> Checkpoint:
    """Build a network with random weights and normalization layers that keep its features from vanishing."""
    config: ModelConfig = request.param
    torch.manual_seed(0)
    random_network = build_model(config)
    random_network.drop_auxiliary_head()
    for module in random_network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        random_network.train()(torch.randn(2, 3, 128, 128))
    random_network.eval()
    return Checkpoint(random_network, metadata(model=config, resize=ResizePolicy(side="long", size=96, multiple=16)))


@pytest.mark.slow
@pytest.mark.parametrize("file_format", FORMATS, ids=SUFFIX_IDS)
def test_an_exported_file_equals_torch_at_any_size(network: Checkpoint, file_format: GraphFormat, tmp_path: Path) -> None:
    module, path = PixelsToLabels(network), tmp_path / f"model{file_format.suffix}"

    file_format.write(module, describe(network.metadata), path)
    run = file_format.load(path)

    for height, width in [(64, 96), (80, 48)] if network.metadata.model.is_smp else [(65, 97), (50, 75)]:
        pixels = np.stack([noise(height, width), noise(height, width)[::-1]])
        with torch.inference_mode():
            labels, logits = (tensor.numpy() for tensor in module(torch.from_numpy(pixels)))
        exported_labels, exported_logits = run(pixels)
        assert exported_labels.dtype == np.uint8
        assert np.abs(exported_logits - logits).max() < 1e-3 * logits.std((0, 2, 3)).min()
        assert (exported_labels == labels).mean() > 0.999


@pytest.fixture(scope="module")
def many_classes() -> Checkpoint:
    """Build a network with more than 256 classes and non-ASCII names."""
    names = ("Straße", "<b>&", *(f"class {index}" for index in range(2, 300)))
    model_metadata = metadata(
        model=ModelConfig(backbone="mobilenet_v2", num_classes=len(names), output_stride=16, separable=True, aspp_channels=16),
        classes=names,
        palette=voc_palette(len(names)),
    )
    return Checkpoint(build_model(model_metadata.model).eval(), model_metadata)


def open_onnx_metadata(path: Path) -> Callable[[str], str]:
    import onnxruntime

    return lambda key: onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map[key]


def open_openvino_metadata(path: Path) -> Callable[[str], str]:
    graph: ov.Model = core().read_model(path)
    return lambda key: graph.get_rt_info(["deeplab", key]).value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file_format", "open_metadata"),
    [pytest.param(ONNX, open_onnx_metadata, marks=needs_onnx), (OPENVINO, open_openvino_metadata)],
    ids=SUFFIX_IDS,
)
def test_an_exported_file_describes_its_model(
    many_classes: Checkpoint, file_format: GraphFormat, open_metadata: Callable[[Path], Callable[[str], str]], tmp_path: Path
) -> None:
    model_metadata, path = many_classes.metadata, tmp_path / f"model{file_format.suffix}"

    file_format.write(PixelsToLabels(many_classes), describe(model_metadata), path)

    value = open_metadata(path)
    assert json.loads(value("classes")) == list(model_metadata.classes)
    assert json.loads(value("palette")) == [list(colour) for colour in model_metadata.palette]
    assert json.loads(value("resize")) == model_metadata.resize.model_dump()
    assert value("license") == model_metadata.license
    assert "label_map: int32 [batch, height, width]" in value("usage")
    labels, _ = file_format.load(path)(noise(40, 33)[None])
    assert labels.dtype == np.int32
    assert labels.shape == (1, 40, 33)


def test_the_description_omits_what_is_in_the_graph() -> None:
    description = describe(metadata())

    assert description.keys() & {"normalization", "quantization", "format_version"} == set()
    assert description["provenance"] == "random weights"


@pytest.mark.parametrize(("classes", "dtype"), [(256, torch.uint8), (257, torch.int32)])
def test_labels_are_bytes_up_to_256_classes(classes: int, dtype: torch.dtype) -> None:
    model_metadata = CheckpointMetadata(
        model=ModelConfig(backbone="mobilenet_v2", num_classes=classes),
        classes=tuple(map(str, range(classes))),
        palette=voc_palette(classes),
        provenance="none",
        license="none",
    )

    assert label_type(model_metadata) == dtype

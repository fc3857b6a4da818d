import pytest
import torch
from torch import nn

from model.backbones import BACKBONES, LOW_DEPTHWISE, STAGES, TIMM_EXAMPLES, build_backbone, dilate, use_trailing_padding
from model.meta_device import on_meta_device
from model.strict import ConfigurationError

pytestmark = pytest.mark.slow

NAMES = [*BACKBONES, *(f"timm:{name}" for name in TIMM_EXAMPLES)]
#: A deeper ResNet-50, and another padding of MobileNetV2.
REDUNDANT = {"resnet101", "mobilenet_v2_vainf"}
ROWS = [pytest.param(name, marks=pytest.mark.exhaustive if name in REDUNDANT else ()) for name in NAMES]


# test_architectures.py tests most of them at 16.
@pytest.mark.parametrize("output_stride", [8, pytest.param(16, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("name", ROWS, ids=NAMES)
def test_stages_have_the_declared_channels_and_strides(name: str, output_stride: int) -> None:
    # Tensors without data, because only shapes matter here.
    with on_meta_device(), torch.inference_mode():
        backbone = build_backbone(name, output_stride, STAGES)
        features = backbone.module.eval()(torch.empty(1, 3, 64, 96))

    assert {stage: tensor.shape[1] for stage, tensor in features.items()} == backbone.channels
    assert features["out"].shape[-2:] == (64 // output_stride, 96 // output_stride)
    assert features["low"].shape[-2:] == (16, 24)


@pytest.mark.parametrize("name", ["mobilenet_v2", "timm:mobilenetv2_100"])
def test_only_the_requested_stages_are_returned(name: str) -> None:
    backbone = build_backbone(name, 16, ("out",))

    assert list(backbone.module.eval()(torch.randn(1, 3, 32, 32))) == ["out"]


def test_dilation_replaces_stride_beyond_the_output_stride() -> None:
    trunk = nn.Sequential(*(nn.Conv2d(1, 1, 3, stride=stride, padding=1) for stride in (2, 2, 1, 2, 1)))

    dilate(trunk, output_stride=2)

    convs = [module for module in trunk if isinstance(module, nn.Conv2d)]
    assert [conv.stride[0] for conv in convs] == [2, 1, 1, 1, 1]
    assert [conv.dilation[0] for conv in convs] == [1, 1, 2, 2, 4]
    assert trunk(torch.randn(1, 1, 20, 30)).shape == (1, 1, 10, 15)


def test_a_dilated_trunk_agrees_with_the_strided_one() -> None:
    strided = nn.Sequential(*(nn.Conv2d(1, 1, 3, stride=stride, padding=1) for stride in (2, 2, 1)))
    dense = nn.Sequential(*(nn.Conv2d(1, 1, 3, stride=stride, padding=1) for stride in (2, 2, 1)))
    dense.load_state_dict(strided.state_dict())
    image = torch.randn(1, 1, 64, 64)

    every_second = dilate(dense, output_stride=2)(image)[..., ::2, ::2]

    torch.testing.assert_close(every_second[..., 1:-1, 1:-1], strided(image)[..., 1:-1, 1:-1])


def test_a_pooling_beyond_the_output_stride_keeps_the_grid() -> None:
    trunk = nn.Sequential(nn.MaxPool2d(2, 2), nn.MaxPool2d(2, 2), nn.Conv2d(1, 1, 3, padding=1))

    dilate(trunk, output_stride=2)

    assert trunk[2].dilation == (2, 2)
    assert trunk(torch.randn(1, 1, 20, 30)).shape == (1, 1, 10, 15)


def test_low_level_features_require_a_stage_at_stride_4() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be dilated|none at 4"):
        build_backbone("timm:levit_128", 16, ("out", "low"))


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large"])
def test_low_level_features_are_read_within_a_unit(name: str) -> None:
    backbone = build_backbone(name, 16, ("out", LOW_DEPTHWISE))

    features = backbone.module.eval()(torch.randn(1, 3, 32, 32))[LOW_DEPTHWISE]

    assert features.shape == (1, backbone.channels[LOW_DEPTHWISE], 8, 8)
    assert features.min() >= 0  # After an activation, unlike the unit's output.


def test_a_backbone_without_depthwise_units_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"low_level_tap 'depthwise': backbone 'resnet50' .*: mobilenet_v3_large, "):
        build_backbone("resnet50", 16, ("out", LOW_DEPTHWISE))


@pytest.mark.parametrize("side", [32, 33, 41])
@pytest.mark.parametrize("kernel", [3, 5])
def test_trailing_padding_moves_cells_by_one_input_pixel_and_keeps_the_grid(side: int, kernel: int) -> None:
    conv = nn.Conv2d(1, 1, kernel, stride=2, padding=kernel // 2)
    trunk = nn.Sequential(conv)
    use_trailing_padding(trunk, (2,))
    trunk[0].load_state_dict(conv.state_dict())
    image = torch.randn(1, 1, side, side)

    moved = trunk(image)

    assert moved.shape[-2:] == (-(-side // 2), -(-side // 2))
    inner, shifted = slice(1, side // 2 - 2), conv(image[..., 1:, 1:])
    torch.testing.assert_close(moved[..., inner, inner], shifted[..., inner, inner])


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2_vainf", "timm:mobilenetv2_100"])
def test_trailing_padding_is_refused_for_backbones_that_pad_otherwise(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"trailing_padding \(2,\)"):
        build_backbone(name, 16, trailing_padding=(2,))

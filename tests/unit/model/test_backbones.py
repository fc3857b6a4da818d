import pytest
import torch
from torch import nn

from model.backbones import BACKBONES, STAGES, TIMM_EXAMPLES, build_backbone, dilate
from model.strict import ConfigurationError

pytestmark = pytest.mark.slow

NAMES = [*BACKBONES, *(f"timm:{name}" for name in TIMM_EXAMPLES)]


# That of 16 is in test_architectures.py for most.
@pytest.mark.parametrize("output_stride", [8, pytest.param(16, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("name", NAMES)
def test_stages_have_the_declared_channels_and_strides(name: str, output_stride: int) -> None:
    backbone = build_backbone(name, output_stride, STAGES)

    with torch.inference_mode():
        features = backbone.module.eval()(torch.randn(1, 3, 64, 96))

    assert {stage: tensor.shape[1] for stage, tensor in features.items()} == backbone.channels
    assert features["out"].shape[-2:] == (64 // output_stride, 96 // output_stride)
    assert features["low"].shape[-2:] == (16, 24)


@pytest.mark.parametrize("name", ["mobilenet_v2", "timm:mobilenetv2_100"])
def test_only_the_stages_asked_for_are_given(name: str) -> None:
    backbone = build_backbone(name, 16, ("out",))

    assert list(backbone.module.eval()(torch.randn(1, 3, 32, 32))) == ["out"]


def test_dilation_takes_the_place_of_stride_beyond_the_output_stride() -> None:
    trunk = nn.Sequential(*(nn.Conv2d(1, 1, 3, stride=stride, padding=1) for stride in (2, 2, 1, 2, 1)))

    dilate(trunk, output_stride=2)

    convs = [module for module in trunk if isinstance(module, nn.Conv2d)]
    assert [conv.stride[0] for conv in convs] == [2, 1, 1, 1, 1]
    assert [conv.dilation[0] for conv in convs] == [1, 1, 2, 2, 4]
    assert trunk(torch.randn(1, 1, 20, 30)).shape == (1, 1, 10, 15)


def test_a_dilated_trunk_sees_what_the_strided_one_saw() -> None:
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


def test_a_backbone_without_a_stage_at_stride_4_is_refused_where_it_is_read() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be dilated|none at 4"):
        build_backbone("timm:levit_128", 16, ("out", "low"))

import pytest
import torch
from torch import nn

from model.backbones import BACKBONES, dilate, find_backbone
from model.strict import ConfigurationError


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", BACKBONES)
def test_stages_have_the_declared_channels_and_the_output_stride(name: str, output_stride: int) -> None:
    backbone = BACKBONES[name]
    extractor = backbone.extractor(output_stride, auxiliary=True).eval()

    with torch.inference_mode():
        features = extractor(torch.randn(1, 3, 65, 97))

    cells = (-(-65 // output_stride), -(-97 // output_stride))
    assert features["out"].shape == (1, backbone.out.channels, *cells)
    assert features["aux"].shape[1] == backbone.aux.channels


def test_without_an_auxiliary_head_only_the_last_stage_is_given() -> None:
    extractor = BACKBONES["mobilenet_v2"].extractor(16, auxiliary=False).eval()

    assert list(extractor(torch.randn(1, 3, 32, 32))) == ["out"]


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


def test_an_unknown_backbone_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown backbone 'resnet5', did you mean 'resnet50'\?"):
        find_backbone("resnet5")

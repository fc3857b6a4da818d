import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model import DeepLabV3, build_model, load_state_dict
from model.backbones import BACKBONES
from model.meta_device import on_meta_device
from model.strict import ConfigurationError
from scripts.import_weights.torchvision_models import TORCHVISION_MODELS

from torchvision.models import segmentation

pytestmark = pytest.mark.slow


# ResNet-101 is a deeper ResNet-50.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.exhaustive] if "resnet101" in name else []) for name in TORCHVISION_MODELS],
)
def test_logits_equal_torchvisions_with_the_same_weights(name: str) -> None:
    torch.manual_seed(0)
    reference = segmentation.__dict__[name](weights=None, weights_backbone=None, aux_loss=True).eval()
    network = build_model(TORCHVISION_MODELS[name]).eval()
    load_state_dict(network, reference.state_dict(), source=name)
    images = torch.randn(1, 3, 65, 97)

    with torch.inference_mode():
        expected, logits = reference(images), network(images)

    assert logits.keys() == expected.keys() == {"out", "aux"}
    for head, values in logits.items():
        upsampled = F.interpolate(values, images.shape[-2:], mode="bilinear", align_corners=False)
        torch.testing.assert_close(upsampled, expected[head], atol=1e-5, rtol=0)


def test_no_constructor_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a constructor opened a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)

    with on_meta_device():  # Drawing random values takes most of the time.
        for name in BACKBONES:
            DeepLabV3(name, num_classes=2)


@pytest.mark.parametrize(("output_stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
def test_default_rates_follow_the_output_stride(output_stride: int, rates: list[int]) -> None:
    assert dilations(DeepLabV3("mobilenet_v2", 2, output_stride=output_stride)) == rates


def test_explicit_rates_replace_the_defaults() -> None:
    assert dilations(DeepLabV3("mobilenet_v2", 2, output_stride=16, atrous_rates=(3, 5))) == [3, 5]


def test_dropping_the_auxiliary_head_leaves_the_logits() -> None:
    network = DeepLabV3("mobilenet_v2", 3, output_stride=16, auxiliary_head=True).eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        before = network(image)["out"]
        network.drop_auxiliary_head()
        after = network(image)

    assert list(after) == ["out"]
    assert torch.equal(after["out"], before)


def test_every_parameter_learns_from_both_heads() -> None:
    network = DeepLabV3("mobilenet_v2", 3, output_stride=16, auxiliary_head=True).train()
    logits: dict[str, Tensor] = network(torch.randn(2, 3, 64, 64))

    sum(values.square().mean() for values in logits.values()).backward()  # type: ignore[union-attr]

    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_an_invalid_output_stride_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(ConfigurationError, match="output stride 32: must be one of 8, 16"):
        DeepLabV3("resnet50", output_stride=32)


def dilations(network: DeepLabV3) -> list[int]:
    branches = network.classifier.aspp.convs[1:-1]
    convs = [module for branch in branches for module in branch.modules() if isinstance(module, nn.Conv2d)]
    return [conv.dilation[0] for conv in convs]

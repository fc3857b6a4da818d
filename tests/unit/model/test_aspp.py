import pytest
import torch

import model

from torchvision.models.segmentation import deeplabv3 as reference


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 25)])
def test_aspp_keeps_the_grid_and_gives_256_channels(size: tuple[int, int]) -> None:
    aspp = model.ASPP(in_channels=8, atrous_rates=(2, 4, 6)).eval()

    assert aspp(torch.randn(2, 8, *size)).shape == (2, 256, *size)


def test_an_atrous_branch_samples_at_its_dilation() -> None:
    branch = model.ASPPConv(in_channels=1, out_channels=1, dilation=3).eval()
    torch.nn.init.ones_(branch.get_parameter("0.weight"))
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1

    nonzero_cells = branch(image)[0, 0].nonzero().tolist()

    assert nonzero_cells == [[y, x] for y in (1, 4, 7) for x in (1, 4, 7)]


def test_image_pooling_gives_every_position_the_same_vector() -> None:
    pooled = model.ASPPPooling(in_channels=4, out_channels=6).eval()(torch.randn(1, 4, 5, 7))

    assert pooled.shape == (1, 6, 5, 7)
    torch.testing.assert_close(pooled, pooled[..., :1, :1].expand_as(pooled))


def test_head_has_torchvisions_keys_and_shapes() -> None:
    state = model.DeepLabHead(16, 5, (12, 24, 36)).state_dict()
    reference_state = reference.DeepLabHead(16, 5, (12, 24, 36)).state_dict()

    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in reference_state.items()
    }


def test_auxiliary_head_gives_logits_on_its_own_grid() -> None:
    assert model.FCNHead(16, 5).eval()(torch.randn(1, 16, 3, 4)).shape == (1, 5, 3, 4)

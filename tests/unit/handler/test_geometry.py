import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from handler.geometry import DecodedImage, network_size, resize_region
from handler.network.tiling import resize_to_network
from model import Normalization, ResizePolicy
from model.preprocessing import Normalize
from tests.support import noise

from torchvision.transforms._presets import SemanticSegmentation
from torchvision.transforms.functional import resize as torchvision_resize

sides = st.integers(1, 4000)


@pytest.mark.parametrize("size", [(300, 451), (512, 512), (640, 491), (50, 40)])
def test_preparation_agrees_with_torchvisions_preset(size: tuple[int, int]) -> None:
    image = noise(*size)
    pixels = resize_to_network(DecodedImage.from_pixels(image), ResizePolicy(side="short", size=520))

    normalized = Normalize(Normalization())(torch.from_numpy(pixels.copy())[None])[0]

    # To within one step of 255, normalized.
    expected = SemanticSegmentation(resize_size=520)(Image.fromarray(image))
    torch.testing.assert_close(normalized, expected, atol=1.01 / 255 / min(Normalization().std), rtol=0)


@given(st.integers(30, 120), st.integers(30, 120))
def test_the_short_side_policy_gives_torchvisions_size(height: int, width: int) -> None:
    expected = torchvision_resize(Image.new("L", (width, height)), [64])

    assert network_size(ResizePolicy(side="short", size=64), (height, width)) == (expected.height, expected.width)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((375, 500), (384, 512)), ((500, 375), (512, 384)), ((512, 512), (512, 512)), ((1, 4000), (16, 512))],
)
def test_both_sides_are_rounded_to_the_multiple(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert network_size(ResizePolicy(side="long", size=512, multiple=16), size) == expected


@given(sides, sides, st.sampled_from(["short", "long"]), st.sampled_from([1, 16]))
def test_no_image_exceeds_the_policys_size(height: int, width: int, side: str, multiple: int) -> None:
    policy = ResizePolicy.model_validate({"side": side, "size": 128, "multiple": multiple, "max_aspect": 3})

    size = network_size(policy, (height, width))

    assert min(size) >= 1
    assert max(size) <= 128 * 3
    assert all(length % multiple == 0 for length in size)


@given(sides, sides)
def test_the_aspect_ratio_is_kept_to_a_pixel(height: int, width: int) -> None:
    rows, columns = network_size(ResizePolicy(side="long", size=513), (height, width))

    assert abs(rows - 513 * height / max(height, width)) < 1 or rows == 1
    assert abs(columns - 513 * width / max(height, width)) < 1 or columns == 1


@pytest.mark.parametrize(
    ("policy", "scale", "expected"),
    [
        (ResizePolicy(side="long", size=512), 0.5, (192, 256)),
        (ResizePolicy(side="long", size=512, multiple=16), 0.7, (272, 352)),
        (ResizePolicy(side="short", size=520), 0.7, (364, 485)),
        (ResizePolicy(side="short", size=520), 1.25, (650, 866)),
    ],
)
def test_a_scale_multiplies_the_policys_size(policy: ResizePolicy, scale: float, expected: tuple[int, int]) -> None:
    assert network_size(policy, (375, 500), scale) == expected


@given(sides, sides, st.sampled_from(["short", "long"]), st.sampled_from([1, 16]), st.floats(0.25, 2))
def test_no_scale_exceeds_its_share_of_the_policys_size(
    height: int, width: int, side: str, multiple: int, scale: float
) -> None:
    policy = ResizePolicy.model_validate({"side": side, "size": 128, "multiple": multiple, "max_aspect": 3})

    size = network_size(policy, (height, width), scale)

    assert min(size) >= 1
    assert max(size) <= round(128 * scale) * 3 + multiple / 2
    assert all(length % multiple == 0 for length in size)


@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.tuples(*[st.floats(0, 1)] * 4), st.integers(1, 40))
def test_a_region_is_resized_like_pillows_box(size: tuple[int, int], edges: tuple[float, ...], side: int) -> None:
    image, (height, width) = noise(*size), size
    (left, right), (top, bottom) = sorted(edges[:2]), sorted(edges[2:])
    box = (left * width, top * height, max(right, left + 1e-3) * width, max(bottom, top + 1e-3) * height)
    assume(box[2] <= width and box[3] <= height)

    region = resize_region(image, box, (side, side))

    # Pillow rounds weights that depend on where the box lies.
    expected = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box)
    np.testing.assert_allclose(region.astype(int), np.asarray(expected, int), atol=1)

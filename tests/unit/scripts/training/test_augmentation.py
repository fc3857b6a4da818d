from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from handler.geometry import RGBImage, network_size
from model import Normalization, ResizePolicy
from model.strict import ConfigurationError
from scripts.datasets import VOID, Mask
from scripts.training.augmentation import Augmentation, TrainingCrops
from scripts.training.augmentation_config import AugmentationConfig
from scripts.training.sampling import Draw
from tests.support import noise

# Importing torchvision's transforms takes more than a second.
pytestmark = pytest.mark.slow

#: 51, 102 and 153 of 255, which occur in no image here.
MEAN = (0.2, 0.4, 0.6)
RESIZE = ResizePolicy(side="long", size=64)
FIXED_COLOURS: dict[str, object] = {"brightness": 0, "contrast": 0, "saturation": 0}
SEEDS = st.integers(0, 2**63 - 1)


def augmentation(**changes: object) -> Augmentation:
    config = AugmentationConfig.model_validate({"crop_size": 48} | changes)
    return Augmentation(config, RESIZE, Normalization(mean=MEAN))


@dataclass(frozen=True)
class Pictures:
    """Images in blocks whose red is 10 where the mask is 0 and 250 where it is 1; green and blue are noise."""

    samples: tuple[int, ...] = (0, 1, 2)
    sizes: tuple[tuple[int, int], ...] = field(default=((60, 80), (90, 40), (64, 64)))

    def read(self, sample: int) -> tuple[RGBImage, Mask]:
        height, width = self.sizes[sample]
        rows, columns = np.indices((height, width)) // 20
        mask = ((rows + columns) % 2).astype(np.uint8)
        image = noise(height, width) // 2
        image[..., 0] = np.where(mask == 1, 250, 10)
        return image, mask


def crop(augment: Augmentation, seed: int = 0, index: int = 0) -> tuple[Tensor, Tensor]:
    return TrainingCrops(Pictures(), augment)[Draw(index, seed)]


def is_padding(image: Tensor) -> Tensor:
    return (image == torch.tensor([51, 102, 153], dtype=torch.uint8)[:, None, None]).all(0)


@given(seed=SEEDS, index=st.integers(0, 2), crop_size=st.integers(32, 100), focus=st.sampled_from([0.0, 0.5]))
def test_a_crop_has_its_size_and_the_classes_of_its_image(seed: int, index: int, crop_size: int, focus: float) -> None:
    image, mask = crop(augmentation(crop_size=crop_size, focus_probability=focus), seed, index)

    assert (image.shape, image.dtype) == ((3, crop_size, crop_size), torch.uint8)
    assert (mask.shape, mask.dtype) == ((crop_size, crop_size), torch.int64)
    assert set(mask.unique().tolist()) <= {0, 1, VOID}


@given(seed=SEEDS, index=st.integers(0, 2), focus=st.sampled_from([0.0, 1.0]))
def test_image_and_mask_stay_aligned(seed: int, index: int, focus: float) -> None:
    image, mask = crop(augmentation(focus_probability=focus, **FIXED_COLOURS), seed, index)

    red, labels = image[0][mask != VOID], mask[mask != VOID]
    # Interpolated at blocks' edges, it is closer to its own class's colour; at equal distance either is right.
    assert ((red > 130) == (labels == 1))[(red < 120) | (red > 140)].all()


@given(seed=SEEDS, index=st.integers(0, 2))
def test_padding_is_void_and_of_the_mean_colour(seed: int, index: int) -> None:
    image, mask = crop(augmentation(crop_size=96), seed, index)

    assert torch.equal(mask == VOID, is_padding(image))


def test_an_image_smaller_than_the_crop_is_not_cropped() -> None:
    _, mask = crop(augmentation(crop_size=96, scale_range=(1, 1)))

    # 60×80 at a long side of 64.
    assert (mask != VOID).sum() == 48 * 64


@given(seed=SEEDS)
def test_colours_change_only_in_the_image(seed: int) -> None:
    image, mask = crop(augmentation(**FIXED_COLOURS), seed)
    light = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.5, "blur_probability": 1}

    other_image, other_mask = crop(augmentation(**light), seed)

    assert not torch.equal(other_image, image)
    assert torch.equal(other_mask, mask)


def test_flipping_mirrors_image_and_mask() -> None:
    uncropped: dict[str, object] = {"crop_size": 64, "scale_range": (1, 1), **FIXED_COLOURS}

    image, mask = crop(augmentation(flip_probability=0, **uncropped), index=2)
    mirrored_image, mirrored_mask = crop(augmentation(flip_probability=1, **uncropped), index=2)

    assert torch.equal(mirrored_image, image.flip(-1))
    assert torch.equal(mirrored_mask, mask.flip(-1))


def test_scales_are_relative_to_the_size_at_which_images_are_served() -> None:
    _, mask = crop(augmentation(crop_size=200, scale_range=(2, 2)), index=1)

    # 90×40 at a long side of 2 * 64.
    assert (mask != VOID).any(1).sum() == 128
    assert (mask != VOID).any(0).sum() == 56


@given(seed=SEEDS, index=st.integers(0, 2), multiple=st.sampled_from([1, 16]), scales=st.sampled_from([(1, 1), (0.6, 1.4)]))
def test_an_uncropped_image_has_a_size_at_which_it_could_be_served(
    seed: int, index: int, multiple: int, scales: tuple[float, float]
) -> None:
    resize = ResizePolicy(side="long", size=64, multiple=multiple)
    config = AugmentationConfig(crop_size=None, scale_range=scales, **FIXED_COLOURS)

    image, mask = crop(Augmentation(config, resize, Normalization(mean=MEAN)), seed, index)

    height, width = Pictures().sizes[index]
    served_sizes = {network_size(resize, (height, width), scale) for scale in np.linspace(*scales, 2_000)}
    assert image.shape[1:] == mask.shape
    assert tuple(mask.shape) in served_sizes
    assert not (mask == VOID).any()


@given(seed=SEEDS)
def test_a_focused_crop_has_the_class_in_its_middle(seed: int) -> None:
    mask = np.zeros((200, 200), np.uint8)
    mask[150:154, 30:34] = 7
    augment = Augmentation(
        AugmentationConfig(crop_size=32, focus_probability=1, scale_range=(1, 1)), ResizePolicy(size=200), Normalization()
    )

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _, cropped = augment(noise(200, 200), mask)

    assert (cropped[8 - 4 : 24 + 4, 8 - 4 : 24 + 4] == 7).any()


def test_background_and_void_are_never_focused_on() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[:30] = VOID

    _, cropped = augmentation(focus_probability=1)(noise(60, 80), mask)

    assert cropped.shape == (48, 48)


@given(seed=SEEDS, index=st.integers(0, 2))
def test_the_same_draw_gives_the_same_crop_whatever_the_generators_state(seed: int, index: int) -> None:
    augment = augmentation(focus_probability=0.5, hue=0.1, blur_probability=0.5)

    first = crop(augment, seed, index)
    torch.rand(7)
    second = crop(augment, seed, index)

    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_cropping_does_not_change_the_generators_state() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)

    crop(augmentation())

    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_crops_do_not_depend_on_the_number_of_workers(workers: int) -> None:
    crops = TrainingCrops(Pictures(), augmentation(focus_probability=0.5, blur_probability=0.5))
    draws = [Draw(0, 5), Draw(1, 6), Draw(2, 7), Draw(0, 8)]

    batches = list(DataLoader(crops, 2, sampler=draws, num_workers=workers))

    images, masks = (torch.cat(parts) for parts in zip(*batches, strict=True))
    for position, draw in enumerate(draws):
        image, mask = crops[draw]
        assert torch.equal(images[position], image)
        assert torch.equal(masks[position], mask)


def test_descending_scales_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"scale_range 2\.0, 0\.5"):
        AugmentationConfig.parse({"scale_range": (2.0, 0.5)}, source="augmentation")

"""Random crops: image and mask are scaled, cropped and flipped together; colours vary in the image only."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from handler.geometry import RGBImage, network_size
from model import torchvision_ops  # noqa: F401, before torchvision is imported
from model.metadata import Normalization, ResizePolicy
from scripts.datasets import VOID, Mask
from scripts.training.augmentation_config import AugmentationConfig
from scripts.training.sampling import Draw

from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

SampleT = TypeVar("SampleT")


class Samples(Protocol[SampleT]):
    """Annotated images, independent of how they are stored."""

    @property
    def samples(self) -> Sequence[SampleT]: ...

    def read(self, sample: SampleT) -> tuple[RGBImage, Mask]:
        """Return the image, uint8 H×W×3, and its class indices, uint8 H×W, 255 for void pixels."""
        ...


class TrainingCrops(Dataset[tuple[Tensor, Tensor]]):
    """Augmented crops, uint8 3×S×S with class indices int64 S×S; each is a pure function of its draw, in any process."""

    def __init__(self, data: Samples[Any], augment: Callable[[RGBImage, Mask], tuple[Tensor, Tensor]]) -> None:
        self._data = data
        self._augment = augment

    def __len__(self) -> int:
        return len(self._data.samples)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        image, mask = self._data.read(self._data.samples[draw.index])
        with _seeded(draw.seed):
            return self._augment(image, mask)


class Augmentation:
    """Makes random crops of images sized as `resize` would in serving. All random numbers come from torch's CPU generator.

    A crop larger than its image is padded with the normalization's mean colour and void.

    Args:
        background: the class that crops never focus on, or None.
    """

    def __init__(
        self, config: AugmentationConfig, resize: ResizePolicy, normalization: Normalization, background: int | None = 0
    ) -> None:
        changes = [
            v2.RandomHorizontalFlip(config.flip_probability),
            _Independent(
                v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue),
                v2.RandomApply([v2.GaussianBlur(kernel_size=5, sigma=(0.1, 1.5))], config.blur_probability),
            ),
        ]
        if config.crop_size is not None:
            mean_colour = [round(255 * mean) for mean in normalization.mean]
            fill = {tv_tensors.Image: mean_colour, tv_tensors.Mask: VOID}
            changes.insert(0, _RandomCrop(config.crop_size, config.focus_probability, background))
            # Pads small images at a random position; last, so that the padding's colour does not vary.
            changes.append(v2.RandomCrop(config.crop_size, pad_if_needed=True, fill=fill))
        scale = _RandomScale(resize, config.scale_range, uncropped=config.crop_size is None)
        self._transform = v2.Compose([scale, *changes])

    def __call__(self, pixels: RGBImage, classes: Mask) -> tuple[Tensor, Tensor]:
        """Return a crop, uint8 3×S×S and int64 S×S (3×h×w and h×w if uncropped), from an image H×W×3 and its classes H×W."""
        image, mask = self._transform(
            tv_tensors.Image(torch.tensor(pixels).permute(2, 0, 1)), tv_tensors.Mask(torch.tensor(classes)[None])
        )
        return image.as_subclass(Tensor), mask.as_subclass(Tensor)[0].long()


class _RandomScale(v2.Transform):  # type: ignore[misc]  # torchvision has no types.
    """Resize by a random factor relative to the input size in serving; uncropped images keep the policy's multiples."""

    def __init__(self, resize: ResizePolicy, scale_range: tuple[float, float], *, uncropped: bool) -> None:
        super().__init__()
        self._resize = resize
        self._scale_range = scale_range
        self._uncropped = uncropped

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        image_height, image_width = tvf.get_size(flat_inputs[0])
        factor = float(torch.empty(()).uniform_(*self._scale_range))
        if self._uncropped:
            return {"size": list(network_size(self._resize, (image_height, image_width), factor))}
        height, width = network_size(self._resize, (image_height, image_width))
        return {"size": [max(1, round(height * factor)), max(1, round(width * factor))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not isinstance(inpt, tv_tensors.Mask):
            return tvf.resize(inpt, params["size"], antialias=True)
        # Torchvision resizes a Mask with "nearest", which samples at the corners of the new pixels; the image is sampled at
        # their centres, so the mask would be off by up to half a pixel.
        resized = tvf.resize_image(inpt, params["size"], v2.InterpolationMode.NEAREST_EXACT, antialias=False)
        return tv_tensors.wrap(resized, like=inpt)


class _RandomCrop(v2.Transform):  # type: ignore[misc]  # torchvision has no types.
    """Crop each side to at most `side` pixels: anywhere or, with `focus_probability`, around a pixel of a random class."""

    def __init__(self, side: int, focus_probability: float, background: int | None) -> None:
        super().__init__()
        self._side = side
        self._focus_probability = focus_probability
        self._background = background

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        mask = next(tensor for tensor in flat_inputs if isinstance(tensor, tv_tensors.Mask))[0]
        height, width = mask.shape
        focus = self._focus(mask) if torch.rand(()) < self._focus_probability else None
        row, column = focus or (None, None)
        top, left = self._offset(height, row), self._offset(width, column)
        return {"top": top, "left": left, "height": min(height, self._side), "width": min(width, self._side)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return tvf.crop(inpt, **params)

    def _offset(self, length: int, focus: int | None) -> int:
        """Return the crop's start along an axis of `length` pixels.

        The pixel `focus` falls into the middle half of the crop, unless the edges of the image prevent it.
        """
        last = max(0, length - self._side)
        if focus is None:
            return _random_integer(0, last)
        return min(max(focus - self._side // 2 + _random_integer(-(self._side // 4), self._side // 4), 0), last)

    def _focus(self, mask: Tensor) -> tuple[int, int] | None:
        """Return a random pixel (row, column) of a random class in `mask` H×W, or None if it is all background or void."""
        classes = [index for index in mask.unique().tolist() if index not in (self._background, VOID)]
        if not classes:
            return None
        pixels = (mask == classes[_random_integer(0, len(classes) - 1)]).nonzero()
        row, column = pixels[_random_integer(0, len(pixels) - 1)].tolist()
        return row, column


class _Independent(v2.Compose):  # type: ignore[misc]  # torchvision has no types.
    """Transforms that draw random numbers without affecting those of later transforms."""

    def __init__(self, *transforms: v2.Transform) -> None:
        super().__init__(transforms)

    def forward(self, *inputs: Any) -> Any:
        with _seeded(_random_integer(0, 2**62)):
            return super().forward(*inputs)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the random generator inside the block and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also seed the accelerators' generators in the training process.
        torch.default_generator.manual_seed(seed)
        yield


def _random_integer(low: int, high: int) -> int:
    """Return a random integer from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, ()))

"""Random crops of image and mask: scaled, cut out and mirrored together, the light varied in the image alone."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import Self

from handler.geometry import RGBImage, Size, network_size
from model.metadata import Fraction, Normalization, ResizePolicy
from model.strict import StrictModel
from scripts.training.sampling import Draw
from scripts.training.voc import VOID

from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

Mask = npt.NDArray[np.uint8]
SampleT = TypeVar("SampleT")


class AugmentationConfig(StrictModel):
    """What is random about a crop, and how much."""

    #: Side of the square crop, in pixels.
    crop_size: int = Field(default=513, ge=32)
    #: Range of the image's size before it is cropped, relative to the size at which it would be served.
    scale_range: tuple[float, float] = (0.5, 2.0)
    flip_probability: Fraction = 0.5
    #: How far each may go up or down, as a share of what it is.
    brightness: Fraction = 0.2
    contrast: Fraction = 0.2
    saturation: Fraction = 0.2
    #: How far the hue may turn either way, as a share of the full circle.
    hue: float = Field(default=0.0, ge=0, le=0.5)
    blur_probability: Fraction = 0.0
    #: How often a crop is laid around a pixel of a class that the image holds, each class alike but for background.
    focus_probability: Fraction = 0.0

    @model_validator(mode="after")
    def _rising_scales(self) -> Self:
        low, high = self.scale_range
        if not 0 < low <= high:
            raise ValueError(f"scale_range {low}, {high}: must be above 0 and rise, for example 0.5, 2.0")
        return self


class Samples(Protocol[SampleT]):
    """Annotated images, however they are stored."""

    @property
    def samples(self) -> Sequence[SampleT]: ...

    def read(self, sample: SampleT) -> tuple[RGBImage, Mask]:
        """The image, uint8 H×W×3, and its class indices, uint8 H×W, 255 where a pixel is void."""
        ...


class TrainingCrops(Dataset[tuple[Tensor, Tensor]]):
    """Augmented crops: uint8 3×S×S and class indices int64 S×S. A crop is a pure function of its draw, in any process."""

    def __init__(self, data: Samples[Any], augment: Callable[[RGBImage, Mask], tuple[Tensor, Tensor]]) -> None:
        self._data = data
        self._augment = augment

    def __len__(self) -> int:
        return len(self._data.samples)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        image, mask = self._data.read(self._data.samples[draw.index])
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which in the training process would seed the accelerators' generators too.
            torch.default_generator.manual_seed(draw.seed)
            return self._augment(image, mask)


class Augmentation:
    """What `config` says, on images that would be served by `resize`; all that is random comes from torch's CPU generator.

    Where a crop is larger than its image, the rest is the normalization's mean colour in the image and void in the mask.

    Args:
        background: the class that crops do not focus on, if there is one.
    """

    def __init__(
        self, config: AugmentationConfig, resize: ResizePolicy, normalization: Normalization, background: int | None = 0
    ) -> None:
        self._config = config
        self._resize = resize
        self._background = background
        self._padding = [round(255 * mean) for mean in normalization.mean]
        self._photometric = v2.Compose(
            [
                v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue),
                v2.RandomApply([v2.GaussianBlur(kernel_size=5, sigma=(0.1, 1.5))], config.blur_probability),
            ]
        )

    def __call__(self, pixels: RGBImage, classes: Mask) -> tuple[Tensor, Tensor]:
        """uint8 H×W×3 and uint8 H×W to uint8 3×S×S and int64 S×S."""
        image, mask = self._scaled(torch.tensor(pixels).permute(2, 0, 1), torch.tensor(classes)[None])
        window = self._window(mask)
        image, mask = window.cut(image), window.cut(mask)
        if torch.rand(()) < self._config.flip_probability:
            image, mask = image.flip(-1), mask.flip(-1)
        # Before the padding, which no light falls on.
        image = self._photometric(image)
        return window.pad(image, self._padding), window.pad(mask, [VOID])[0].long()

    def _scaled(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        factor = float(torch.empty(()).uniform_(*self._config.scale_range))
        height, width = network_size(self._resize, (image.shape[-2], image.shape[-1]))
        size = [max(1, round(height * factor)), max(1, round(width * factor))]
        # Torchvision's way with masks, "nearest", has its pixels' corners on the image's, not their centres.
        nearest = v2.InterpolationMode.NEAREST_EXACT
        return tvf.resize_image(image, size, antialias=True), tvf.resize_image(mask, size, nearest, antialias=False)

    def _window(self, mask: Tensor) -> "_Window":
        focus = self._focus(mask[0]) if torch.rand(()) < self._config.focus_probability else None
        top, left = (self._offset(mask.shape[axis], focus and focus[axis]) for axis in (-2, -1))
        return _Window(top, left, self._config.crop_size)

    def _offset(self, length: int, focus: int | None) -> int:
        """Where the window begins along an axis of the image: inside it, or the image inside the window.

        A pixel in `focus` comes to lie in the window's middle half, but for what the image's edges do not allow.
        """
        side = self._config.crop_size
        low, high = min(0, length - side), max(0, length - side)
        if focus is None:
            return _between(low, high)
        return min(max(focus - side // 2 + _between(-(side // 4), side // 4), low), high)

    def _focus(self, mask: Tensor) -> Size | None:
        """A random pixel (row, column) of a random class of `mask` H×W; none where there is only background."""
        classes = [index for index in mask.unique().tolist() if index not in (self._background, VOID)]
        if not classes:
            return None
        pixels = (mask == classes[_between(0, len(classes) - 1)]).nonzero()
        row, column = pixels[_between(0, len(pixels) - 1)].tolist()
        return row, column


class _Window(NamedTuple):
    """A square that may reach over the edges of an image."""

    top: int
    left: int
    side: int

    def cut(self, image: Tensor) -> Tensor:
        """What of the image C×H×W is in the window."""
        rows = slice(max(self.top, 0), self.top + self.side)
        columns = slice(max(self.left, 0), self.left + self.side)
        return image[:, rows, columns]

    def pad(self, cut: Tensor, fill: Sequence[int]) -> Tensor:
        """What was cut out, at its place in the full window; one `fill` per channel."""
        above, before = max(-self.top, 0), max(-self.left, 0)
        below, after = self.side - above - cut.shape[1], self.side - before - cut.shape[2]
        padded: Tensor = tvf.pad_image(cut, [before, above, after, below], fill=list(fill))
        return padded.contiguous()


def _between(low: int, high: int) -> int:
    """A random integer, either bound included."""
    return int(torch.randint(low, high + 1, ()))

"""Folders in PASCAL VOC's layout: `JPEGImages/ID.jpg`, `SegmentationClass/ID.png` and a list of ids."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from handler.geometry import RGBImage
from model.metadata import Normalization

from torchvision import tv_tensors
from torchvision.transforms import v2

#: The index of pixels that belong to no class and count for nothing.
VOID = 255
_ID_LISTS = ("train.txt", "val.txt")


@dataclass(frozen=True)
class VocFolder:
    """Image and mask files by id."""

    root: Path
    ids: tuple[str, ...]

    @classmethod
    def open(cls, root: Path) -> "VocFolder":
        """Raises: FileNotFoundError, naming what is missing: the list of ids, an image or a mask."""
        listing = next((root / name for name in _ID_LISTS if (root / name).is_file()), None)
        if listing is None:
            raise FileNotFoundError(f"{root}: holds none of {', '.join(_ID_LISTS)}, the list of image ids")
        folder = cls(root, tuple(listing.read_text().split()))
        for path in (path for i in folder.ids for path in (folder.image_path(i), folder.mask_path(i))):
            if not path.is_file():
                raise FileNotFoundError(f"{path}: missing, but {listing.name} names it")
        return folder

    def subset(self, ids: Sequence[str]) -> "VocFolder":
        return VocFolder(self.root, tuple(ids))

    def image_path(self, image_id: str) -> Path:
        return self.root / "JPEGImages" / f"{image_id}.jpg"

    def mask_path(self, image_id: str) -> Path:
        return self.root / "SegmentationClass" / f"{image_id}.png"

    def read(self, image_id: str) -> tuple[RGBImage, RGBImage]:
        """The image, uint8 H×W×3, and its mask of class indices, uint8 H×W."""
        with Image.open(self.image_path(image_id)) as image, Image.open(self.mask_path(image_id)) as mask:
            return np.asarray(image.convert("RGB")), np.asarray(mask)


def balanced_weights(folder: VocFolder) -> list[float]:
    """How often each image should be drawn, relative to the others, so that rare classes are seen more often.

    An image counts by its rarest class other than background, as the inverse square root of that class's number of images:
    between drawing images alike (which hardly ever shows a class of two images) and classes alike (which shows those two in
    every batch).
    """
    present = [set(np.unique(folder.read(image_id)[1]).tolist()) - {0, VOID} for image_id in folder.ids]
    images = Counter(index for classes in present for index in classes)
    return [max((images[index] ** -0.5 for index in classes), default=len(present) ** -0.5) for classes in present]


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Augmented training crops: uint8 3×S×S and class indices int64 S×S."""

    def __init__(self, folder: VocFolder, augment: Callable[..., Any]) -> None:
        self._folder = folder
        self._augment = augment

    def __len__(self) -> int:
        return len(self._folder.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels, classes = self._folder.read(self._folder.ids[index])
        image, mask = self._augment(
            tv_tensors.Image(torch.tensor(pixels).permute(2, 0, 1)),
            tv_tensors.Mask(torch.tensor(classes)),
        )
        return image.as_subclass(Tensor), mask.as_subclass(Tensor).long()


def augmentation(
    crop_size: int, long_side: int, scale_range: tuple[float, float], normalization: Normalization
) -> Callable[..., Any]:
    """Scale, crop and mirror image and mask together; vary the light of the image alone. Padding is mean grey and void."""
    grey = [round(255 * mean) for mean in normalization.mean]
    sizes = [round(long_side * scale) for scale in scale_range]
    transform: Callable[..., Any] = v2.Compose(
        [
            _RandomLongSide(*sizes),
            v2.RandomCrop(crop_size, pad_if_needed=True, fill={tv_tensors.Image: grey, tv_tensors.Mask: VOID}),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ]
    )
    return transform


class _RandomLongSide(v2.Transform):  # type: ignore[misc]  # torchvision has no types.
    """Resize so that the long side is uniform between two bounds."""

    def __init__(self, shortest: int, longest: int) -> None:
        super().__init__()
        self._bounds = shortest, longest

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = v2.functional.get_size(flat_inputs[0])
        low, high = self._bounds
        factor = int(torch.randint(low, high + 1, ())) / max(height, width)
        return {"size": [max(1, round(height * factor)), max(1, round(width * factor))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return v2.functional.resize(inpt, params["size"], antialias=True)

"""Small data sets on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from scripts.datasets import SegmentationData
from tests.support import noise

#: A mask of three classes and void.
INDICES = np.array([[0, 1, 2, 2], [0, 0, 2, 255], [0, 1, 1, 2]])


def write_image(path: Path, pixels: npt.ArrayLike, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **options)
    return path


def write_pairs(
    root: Path,
    masks: dict[str, npt.NDArray[Any]],
    *,
    folders: tuple[str, str] = ("images", "masks"),
    names: Sequence[str] | None = ("background", "cat", "dog"),
    suffix: str = ".png",
) -> Path:
    """Write a photograph and a mask for each name."""
    for name, pixels in masks.items():
        write_image(root / folders[0] / f"{name}.jpg", noise(*pixels.shape[:2]))
        write_image(root / folders[1] / f"{name}{suffix}", pixels)
    if names is not None:
        (root / "classes.txt").write_text("\n".join(names))
    return root


def only_mask(data: SegmentationData) -> list[list[int]]:
    """Return the mask of the only sample."""
    (sample,) = data.samples
    image, mask = data.read(sample)
    assert image.shape[:2] == mask.shape
    assert mask.dtype == np.uint8
    rows: list[list[int]] = mask.tolist()
    return rows

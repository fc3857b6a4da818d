"""The photographs that are measured with."""

import io

import numpy as np
from PIL import Image
from skimage import data

from handler.geometry import RGBImage, Size

#: Of each of which the largest part of the wanted shape is taken, from the top.
_NAMES = ("astronaut", "chelsea", "coffee")
#: Of noise as a sensor has it. Without, a large JPEG of an enlarged photograph would be a third as long as a camera's.
_SIGMA = 4.0


def photographs(size: Size) -> dict[str, RGBImage]:
    """Each photograph at `size` (height, width), uint8 RGB."""
    return {name: _fitted(getattr(data, name)(), size) for name in _NAMES}


def jpeg(size: Size) -> bytes:
    """`astronaut` at `size` (height, width), as a camera would store it."""
    image = _fitted(data.astronaut(), size).astype(np.float32)  # type: ignore[no-untyped-call]
    image += np.random.default_rng(0).standard_normal(size, np.float32)[..., None] * _SIGMA
    return encoded(image.round().clip(0, 255).astype(np.uint8), "JPEG", quality=90)


def encoded(image: RGBImage, file_format: str, **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, file_format, **options)
    return file.getvalue()


def _fitted(image: RGBImage, size: Size) -> RGBImage:
    """The upper part of `image` that has the shape of `size`, resized to it."""
    height, width = size
    scale = min(image.shape[0] / height, image.shape[1] / width)
    part = Image.fromarray(image[: round(height * scale), : round(width * scale), :3])
    return np.asarray(part.resize((width, height), Image.Resampling.BICUBIC))

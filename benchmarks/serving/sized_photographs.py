"""Test photographs of any size."""

import io

import numpy as np
from PIL import Image
from skimage import data

from handler.geometry import RGBImage, Size

_NAMES = ("astronaut", "chelsea", "coffee")
#: Standard deviation of sensor noise. Without it, the JPEG of an enlarged photograph would have a third of a camera's bytes.
_NOISE = 4.0


def sized_photographs(size: Size) -> dict[str, RGBImage]:
    """Return sample photographs by name, cropped and resized to `size` (height, width)."""
    return {name: _fit(getattr(data, name)(), size) for name in _NAMES}


def camera_jpeg(size: Size) -> bytes:
    """Return `astronaut` at `size` (height, width) as a JPEG like a camera's."""
    image = _fit(data.astronaut(), size).astype(np.float32)  # type: ignore[no-untyped-call]
    image += np.random.default_rng(0).standard_normal(size, np.float32)[..., None] * _NOISE
    return encode_image(image.round().clip(0, 255).astype(np.uint8), "JPEG", quality=90)


def encode_image(image: RGBImage, file_format: str, **options: object) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, file_format, **options)
    return file.getvalue()


def _fit(image: RGBImage, size: Size) -> RGBImage:
    """Crop `image` to the aspect ratio of `size`, from the top left, and resize it."""
    height, width = size
    scale = min(image.shape[0] / height, image.shape[1] / width)
    part = Image.fromarray(image[: round(height * scale), : round(width * scale), :3])
    return np.asarray(part.resize((width, height), Image.Resampling.BICUBIC))

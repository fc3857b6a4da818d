"""Synthetic photographs."""

import io

import numpy as np
from PIL import Image


def photograph(seed: int, size: tuple[int, int] = (96, 72)) -> bytes:
    """Return a JPEG of smooth noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()

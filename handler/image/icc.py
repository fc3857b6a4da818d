"""Convert a file's colours to sRGB by its ICC profile."""

import functools
import io
import logging

import numpy as np
from PIL import Image, ImageCms

logger = logging.getLogger(__name__)

#: The colour space that a profile must describe, by the mode of the samples.
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
_MAX_PROFILE_BYTES = 4_000_000
#: As in browsers and image viewers. If a profile has tables, they map its whole gamut into sRGB's. A profile that consists of
#: three primaries and a curve has no such tables, so its colours outside sRGB are clipped.
_INTENT = ImageCms.Intent.PERCEPTUAL
# Neighbouring pixels of photographs differ, so caching the last colour costs more than it saves.
_FLAGS = ImageCms.Flags.NOCACHE
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
#: CIE L*a*b* under D50, which TIFF specifies for files without a profile.
LAB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@functools.lru_cache(maxsize=16)
def srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform from samples of `mode` ("L", "RGB", "CMYK" or "LAB") with `profile` to sRGB in mode "RGB".

    Return None if the samples need no transform: `profile` is sRGB, or it is ignored (and this is logged) because it is
    broken, describes another colour space or is larger than four megabytes.
    """
    if len(profile) > _MAX_PROFILE_BYTES:
        logger.info("ICC profile ignored: it has %d bytes", len(profile))
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if space != _SPACES[mode]:
            logger.info("ICC profile ignored: it is for %s, the image is %s", space, _SPACES[mode])
            return None
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB", _INTENT, _FLAGS)
    except (OSError, ValueError, ImageCms.PyCMSError) as error:
        logger.info("ICC profile of %d bytes ignored: %s", len(profile), error)
        return None
    return None if mode in ("L", "RGB") and _is_identity(transform, mode) else transform


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether no colour of a fine grid changes by more than 1 of 255, as with any of the dozens of sRGB profiles."""
    steps = np.linspace(0, 255, 256 if mode == "L" else 18).astype(np.uint8)
    grid = steps[None] if mode == "L" else np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    transformed = np.asarray(transform.apply(Image.fromarray(grid)))
    unchanged = np.repeat(grid[..., None], 3, -1) if mode == "L" else grid
    return bool(np.abs(transformed.astype(np.int16) - unchanged).max() <= 1)

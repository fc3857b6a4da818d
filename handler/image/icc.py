"""ICC profiles: from the colours that a file means to sRGB."""

import functools
import io
import logging

import numpy as np
from PIL import Image, ImageCms

logger = logging.getLogger(__name__)

#: The colour space that a profile must be of, by the mode of the samples.
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
_MAX_PROFILE_BYTES = 4_000_000
#: Perceptual, as browsers and viewers show photographs: where a profile has tables, they fit its whole gamut into that of
#: sRGB. A profile of three primaries and a curve has no such tables, and its colours outside of sRGB are clipped.
_INTENT = ImageCms.Intent.PERCEPTUAL
# A cache of the last colour costs photographs, whose neighbours differ, more than it saves.
_FLAGS = ImageCms.Flags.NOCACHE
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
#: CIE L*a*b* under D50, as TIFF means it where it embeds no profile.
LAB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@functools.lru_cache(maxsize=16)
def srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from samples of `mode` ("L", "RGB", "CMYK" or "LAB") by `profile` to sRGB, of mode "RGB".

    None where there is nothing to do: the profile is that of sRGB, or it is broken, of another colour space or above four
    megabytes, which is logged.
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
    return None if mode in ("L", "RGB") and _keeps_colours(transform, mode) else transform


def _keeps_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether no colour of a fine grid moves by more than one step of 255: there are dozens of profiles of sRGB."""
    steps = np.linspace(0, 255, 256 if mode == "L" else 18).astype(np.uint8)
    grid = steps[None] if mode == "L" else np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    moved = np.asarray(transform.apply(Image.fromarray(grid)))
    wanted = np.repeat(grid[..., None], 3, -1) if mode == "L" else grid
    return bool(np.abs(moved.astype(np.int16) - wanted).max() <= 1)

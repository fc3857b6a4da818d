"""Photographs to try a model on: a folder's, or the samples."""

from pathlib import Path

from handler.errors import SegmentationError
from handler.geometry import RGBImage
from handler.image.decode import decode_image
from handler.limits import Limits
from model.strict import ConfigurationError
from scripts.segment.inputs import image_suffixes


def find_images(folder: Path) -> list[Path]:
    """The image files in `folder` and below, by name.

    Raises:
        ConfigurationError: there are none.
    """
    suffixes = image_suffixes()
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    if not found:
        raise ConfigurationError(f"{folder}: holds no images; these end in {', '.join(sorted(suffixes))}")
    return found


def read_image(path: Path) -> RGBImage:
    """A photograph in full, within the limits that a request has by default.

    Raises:
        ConfigurationError: it cannot be decoded.
    """
    try:
        return decode_image(path.read_bytes(), Limits())
    except (SegmentationError, OSError) as error:
        raise ConfigurationError(f"{path}: {error}") from error

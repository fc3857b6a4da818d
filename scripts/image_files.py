"""Find and read image files."""

from pathlib import Path

from handler.errors import SegmentationError
from handler.geometry import RGBImage
from handler.image.decode import decode_image
from handler.limits import Limits
from model.strict import ConfigurationError
from scripts.segment.inputs import image_suffixes


def find_images(folder: Path) -> list[Path]:
    """Return the image files in `folder` and its subfolders, sorted.

    Raises:
        ConfigurationError: `folder` holds no images.
    """
    suffixes = image_suffixes()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    if not paths:
        raise ConfigurationError(f"{folder}: holds no images; these end in {', '.join(sorted(suffixes))}")
    return paths


def read_image(path: Path) -> RGBImage:
    """Decode a whole image to uint8 H×W×3, within the default limits of a request.

    Raises:
        ConfigurationError: the file cannot be decoded.
    """
    try:
        return decode_image(path.read_bytes(), Limits())
    except (SegmentationError, OSError) as error:
        raise ConfigurationError(f"{path}: {error}") from error

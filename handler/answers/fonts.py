"""The font of legends, which covers the scripts of many languages for class names."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont


@lru_cache(maxsize=8)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, `size` pixels high, from matplotlib's files; Pillow's own font has few non-English letters.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    # Importing matplotlib would cost a worker time and memory.
    package = find_spec("matplotlib")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("matplotlib is not installed; it is among the dependencies in pyproject.toml")
    return ImageFont.truetype(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)

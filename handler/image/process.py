"""Process-wide settings for decoding images. Decoding is correct without them, but noisier."""

import warnings

from PIL import Image

from handler.image.tiff_samples import silence_libtiff


def prepare_process() -> None:
    """Silence Pillow's warnings and libtiff's messages, and load Pillow's plugins, which identify unsupported formats.

    Pillow and libtiff warn about metadata that is not used here, or about faults that also raise errors. The filter stays set,
    because `warnings.catch_warnings` is not safe when threads decode concurrently. This is for a serving process; importing
    this package changes nothing.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    silence_libtiff()
    Image.init()

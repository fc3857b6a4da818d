"""What decoding images wants of a whole process. Decoding is right without it, but noisier."""

import warnings

from PIL import Image

from handler.image.tiff_samples import silence_libtiff


def prepare_process() -> None:
    """Silence Pillow's warnings and libtiff's messages, and load Pillow's plugins, by which foreign formats are named.

    What Pillow and libtiff warn of is metadata of no use here, or comes as an error all the same. The filter is set for good:
    `warnings.catch_warnings` is not safe where threads decode side by side. For a process that serves; importing this package
    changes nothing.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    silence_libtiff()
    Image.init()

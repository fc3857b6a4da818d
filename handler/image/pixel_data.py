"""Open images that clients send as raw pixels; the counterpart of `decode`, which opens files."""

import numpy as np
from PIL import Image

from handler.errors import ImageTooLarge
from handler.geometry import DecodedImage, Size
from handler.image.decode import convert_image
from handler.image.tiff_bands import require_bands
from handler.limits import Limits
from handler.options import PixelData, ReadingOptions

CHANNELS = 3


def check_pixel_data(size: Size, limits: Limits) -> None:
    """Refuse an image of `size` (height, width) sent as pixels if it is too large.

    Raises:
        ImageTooLarge: the image has more bytes or pixels, or a longer side, than `limits` allow.
    """
    height, width = size
    limits.check_size(width, height)
    if (count := height * width * CHANNELS) > limits.max_bytes:
        raise ImageTooLarge(f"the pixels of the image have {count:,} bytes, the limit is {limits.max_bytes:,}; send a file")


def open_pixels(data: PixelData, limits: Limits, options: ReadingOptions) -> "OpenedPixels":
    """Check the size of an image sent as pixels.

    Raises:
        InvalidOption: `options` names a band that RGB does not have.
        ImageTooLarge: the image has more bytes or pixels, or a longer side, than `limits` allow.
    """
    check_pixel_data(data.size, limits)
    require_bands(options, CHANNELS, "the image has 3: red, green and blue")
    return OpenedPixels(data, options)


class OpenedPixels:
    """An image within the limits that needs no decoding."""

    def __init__(self, data: PixelData, options: ReadingOptions) -> None:
        #: Height and width.
        self.size: Size = data.size
        #: The pixels of the image.
        self.pixels = data.size[0] * data.size[1]
        self._samples = data.samples
        self._options = options

    def decode(self, min_size: Size | None = None) -> DecodedImage:
        """Return the image, uint8 H×W×3, exactly as a PNG with the same pixels would be decoded."""
        del min_size  # A smaller copy would save nothing.
        samples = np.frombuffer(self._samples, np.uint8).reshape(*self.size, CHANNELS)
        return DecodedImage.from_pixels(convert_image(Image.fromarray(samples), self._options))

"""Limits on what one request may cost."""

from pydantic import Field

from handler.errors import ImageTooLarge
from model.strict import StrictModel

# Limits on one answer that settings cannot change; beyond them it is refused with status 413.
#: Edges to trace between pixels of different segments: 10 seconds' work on one slow core, in the slowest format.
MAX_OUTLINE_EDGES = 800_000
#: Pixels of masks at the image's size, over all segments: 10 seconds' work on one slow core.
MAX_MASK_PIXELS = 2_000_000_000
#: Packed bytes of Label Studio's brush masks; each takes at least two characters of the answer.
MAX_PACKED_BYTES = 16_000_000


class Limits(StrictModel):
    """What one request may cost. Clients see the descriptions."""

    #: Below `max_request_size` of config.properties, so that the handler refuses the request and its error gives the reason.
    max_bytes: int = Field(default=32_000_000, ge=1, description="bytes of an image file")
    max_pixels: int = Field(default=64_000_000, ge=1, description="pixels of an image, width times height")
    #: The greatest side of a JPEG, and so of an overlay.
    max_side: int = Field(default=65_500, ge=1, le=65_500, description="pixels of an image's longer side")
    #: Six scales from 0.5 to 1.75 with mirror images, of a 3:2 photograph with a short side of 520, take 7.1 million.
    max_network_pixels: int = Field(
        default=8_000_000, ge=1, description="pixels that the network sees, over all tiles, scales and mirror images"
    )
    #: A million values take 90 MB, and 1 s for fine texture or 0.2 s for a common photograph.
    max_refined_values: int = Field(
        default=12_000_000, ge=1, description="pixels of the network's input at scale 1 times classes, where a CRF refines"
    )
    max_instances: int = Field(
        default=16, ge=1, description="images of one KServe call, which share the limits of pixels and of the answer evenly"
    )
    #: TorchServe ends a worker that sends more than its `max_response_size` (6,553,500 unless configured).
    max_response_bytes: int = Field(default=6_500_000, ge=1024, description="bytes of an answer")

    def check_size(self, width: int, height: int) -> None:
        """Refuse an image of `width` × `height` pixels that is too large.

        Raises:
            ImageTooLarge: it has too many pixels or too long a side.
        """
        if max(width, height) > self.max_side:
            raise ImageTooLarge(f"the image has {width}×{height} pixels, the limit for a side is {self.max_side:,}")
        self.check_pixels("the image has", width, height)

    def check_pixels(self, subject: str, width: int, height: int) -> None:
        """Refuse `width` × `height` pixels if an image may not have that many; `subject` begins the message.

        Raises:
            ImageTooLarge: there are too many pixels.
        """
        if width * height > self.max_pixels:
            pixels = f"{width}×{height} = {width * height:,} pixels"
            raise ImageTooLarge(f"{subject} {pixels}, the limit is {self.max_pixels:,}")

    def shared_by(self, images: int) -> "Limits":
        """Return the limits for each of a call's `images`, so that the call costs no more than one maximal image."""
        shared_fields = ("max_pixels", "max_network_pixels", "max_refined_values", "max_response_bytes")
        return self.model_copy(update={name: getattr(self, name) // images for name in shared_fields})

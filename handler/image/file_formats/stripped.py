"""The result of stripping a file, for every format."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StrippedImage:
    """The first image of a file, with the metadata needed to show it."""

    #: A file that holds only this image.
    data: bytes
    #: Its EXIF block, a TIFF structure; empty if it has none.
    exif: bytes = b""
    #: Its ICC profile; empty if it has none.
    profile: bytes = b""

"""The result of reducing a file of any format to its first image."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StrippedImage:
    """The first image of a file, with the metadata needed to show it."""

    #: A file with only this image.
    data: bytes
    #: The EXIF block, a TIFF structure; empty if the file has none.
    exif: bytes = b""
    #: The ICC profile; empty if the file has none.
    profile: bytes = b""

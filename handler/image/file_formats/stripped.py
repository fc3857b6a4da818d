"""The value that every container is cut down to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StrippedImage:
    """One picture of a file, and what tells how to show it."""

    #: A file of this picture alone.
    data: bytes
    #: Its EXIF block, a TIFF structure; empty without one.
    exif: bytes = b""
    #: Its ICC profile; empty without one.
    profile: bytes = b""

"""The unit of work: one image and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from scripts.bulk.storage import UNKNOWN, Version

#: Answered; failed because of the image; failed for another reason, such as the network, and worth trying in the next run.
DONE, FAILED, UNANSWERED = "done", "failed", "unanswered"
#: The image ended its process at every attempt.
QUARANTINED = "quarantined"


@dataclass(frozen=True)
class ImageTask:
    """An image to segment."""

    #: Where to read it: an absolute path or a URL.
    path: str
    #: Path relative to the source, with slashes.
    name: str
    #: Names of the answers in the destination, by format.
    outputs: tuple[tuple[str, str], ...]
    #: Version when the image was listed.
    version: Version = UNKNOWN
    #: The file's content, if it is already in memory.
    data: bytes | None = field(default=None, repr=False)


class ImageClass(NamedTuple):
    """A class in an image."""

    class_index: int
    label: str
    pixels: int
    #: Mean probability over its pixels, 0..1.
    score: float


@dataclass(frozen=True)
class ImageResult:
    """The result for an image."""

    status: str
    #: Version when the image was read.
    version: Version
    error_type: str = ""
    error: str = ""
    width: int | None = None
    height: int | None = None
    #: Seconds spent in each stage.
    seconds: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[ImageClass, ...] = ()
    #: Review score of its labels, 0..1.
    review: float | None = None
    #: Names of the answers written.
    outputs: tuple[str, ...] = ()

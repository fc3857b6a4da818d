"""The unit of work: one image, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from scripts.bulk.storage import UNKNOWN, Version

#: Answered; the image's own fault; the fault of something else, such as a network, which the next run may not meet.
DONE, FAILED, UNANSWERED = "done", "failed", "unanswered"
#: It ended the process that worked on it, at every attempt.
QUARANTINED = "quarantined"


@dataclass(frozen=True)
class ImageTask:
    """An image to segment."""

    #: Where it is read: an absolute path or a URL.
    path: str
    #: Its path inside the source, with slashes.
    name: str
    #: Names of the answers in the destination, by format.
    outputs: tuple[tuple[str, str], ...]
    #: Version when it was listed.
    version: Version = UNKNOWN
    #: The file itself, if it is at hand.
    data: bytes | None = field(default=None, repr=False)


class ClassFound(NamedTuple):
    """A class in an image."""

    class_index: int
    label: str
    pixels: int
    #: Mean probability over its pixels, 0..1.
    score: float


@dataclass(frozen=True)
class ImageResult:
    """What became of an image."""

    status: str
    #: Version when it was read.
    version: Version
    error_type: str = ""
    error: str = ""
    width: int | None = None
    height: int | None = None
    #: Seconds spent in each stage.
    seconds: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[ClassFound, ...] = ()
    #: How much its labels should be reviewed, 0..1.
    review: float | None = None
    #: Names of the answers that were written.
    outputs: tuple[str, ...] = ()

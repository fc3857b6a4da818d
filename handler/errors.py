"""The errors a request can be answered with. A class's name is the `type` in the answer, its `status` the HTTP status.

SegmentationError                    500
├── InvalidRequest                   400
│   ├── InvalidOption                400
│   └── InvalidImage                 400
├── TooLarge                         413
│   ├── ImageTooLarge                413
│   ├── InferenceTooLarge            413
│   ├── InstancesTooMany             413
│   └── ResponseTooLarge             413
├── UnsupportedImageFormat           415
├── UnsupportedEncoding              415
├── RefinementUnavailable            501
├── ExplanationUnavailable           501
└── InternalError                    500
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import ClassVar, ParamSpec, Self, TypeVar

from handler.wording import shorten

P = ParamSpec("P")
T = TypeVar("T")

#: RFC 9110's phrase, which older Pythons call "Request Entity Too Large".
_PHRASES = {413: "Content Too Large"}


class SegmentationError(Exception):
    """A request cannot be answered. The message is for the client."""

    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        # The message may quote what a client sent, which can be as long as a request.
        super().__init__(shorten(message))

    @property
    def phrase(self) -> str:
        """The reason phrase of the HTTP status."""
        return _PHRASES.get(self.status) or HTTPStatus(self.status).phrase

    def with_location(self, location: str) -> Self:
        """Return the same error with `location`, its location in the request, before the message."""
        return self._with_message(f"{location}: {self}")

    def with_note(self, note: str) -> Self:
        """Return the same error with `note` after the message."""
        return self._with_message(f"{self}; {note}")

    def _with_message(self, message: str) -> Self:
        error = type(self)(message)
        error.__cause__ = self.__cause__
        return error


class InvalidRequest(SegmentationError):
    """A request without an image, with more than one, or with an image sent in a way the server does not understand."""

    status = 400


class InvalidOption(InvalidRequest):
    """An option that does not exist, or a value it cannot have, such as `alpha=2`."""


class InvalidImage(InvalidRequest):
    """An image that is truncated or broken, or bytes that are not an image."""


class TooLarge(SegmentationError):
    """A request or an answer above one of the server's limits."""

    status = 413


class ImageTooLarge(TooLarge):
    """An image with more bytes or pixels than the server accepts."""


class InferenceTooLarge(TooLarge):
    """Scales, tiles, mirror images or a refinement that would cost more than the server accepts."""


class InstancesTooMany(TooLarge):
    """A call with more images than the server accepts."""


class ResponseTooLarge(TooLarge):
    """An answer with more bytes than the server may send."""


class UnsupportedImageFormat(SegmentationError):
    """An image in a format the server does not accept, such as a PDF or a camera's raw file."""

    status = 415


class UnsupportedEncoding(SegmentationError):
    """A body with a `Content-Encoding` other than gzip and deflate."""

    status = 415


class RefinementUnavailable(SegmentationError):
    """`refine=crf` on a server without the package it needs."""

    status = 501


class ExplanationUnavailable(SegmentationError):
    """An explanation requested from a server whose engine does not compute gradients."""

    status = 501


class InternalError(SegmentationError):
    """A fault of the server. The cause is logged, but not sent to the client."""


@contextmanager
def error_context(location: str) -> Iterator[None]:
    """Prefix the message of a `SegmentationError` raised in the block with `location`, its location in the request."""
    try:
        yield
    except SegmentationError as error:
        raise error.with_location(location) from error.__cause__


def capture(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | SegmentationError:
    """Call `function` and return its value, or the error to send to the client.

    An exception that is not a `SegmentationError` is a fault of the server: it becomes the cause of an `InternalError`.
    """
    try:
        return function(*args, **kwargs)
    except SegmentationError as error:
        return error
    except Exception as error:
        fault = InternalError("the server failed to answer this request")
        fault.__cause__ = error
        return fault

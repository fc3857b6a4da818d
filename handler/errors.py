"""The one tree of errors. Each class carries the HTTP status it is answered with; its name is the `type` in the answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, ParamSpec, Self, TypeVar

from handler.wording import shortened

P = ParamSpec("P")
T = TypeVar("T")


class SegmentationError(Exception):
    """A request cannot be answered. The message is for the client."""

    status: ClassVar[int] = 500
    phrase: ClassVar[str] = "Internal Server Error"

    def __init__(self, message: str) -> None:
        # It may quote what a client sent, which can be as long as a request.
        super().__init__(shortened(message))

    def at(self, place: str) -> Self:
        """The same error, its message saying where in the request it is."""
        return self._saying(f"{place}: {self}")

    def also(self, remark: str) -> Self:
        """The same error, its message followed by a remark."""
        return self._saying(f"{self}; {remark}")

    def _saying(self, message: str) -> Self:
        other = type(self)(message)
        other.__cause__ = self.__cause__
        return other


class InvalidRequest(SegmentationError):
    """The request holds no image, or holds it in a way that is not understood."""

    status = 400
    phrase = "Bad Request"


class InvalidOption(InvalidRequest):
    """An option is unknown, or its value is not allowed."""


class InvalidImage(InvalidRequest):
    """The bytes are not an image, or not a whole one."""


class TooLarge(SegmentationError):
    """A request or its answer is beyond a limit."""

    status = 413
    phrase = "Content Too Large"


class ImageTooLarge(TooLarge):
    """The image has more bytes or pixels than are accepted."""


class InferenceTooLarge(TooLarge):
    """The scales, mirror images or refinement asked for would cost more than is accepted."""


class InstancesTooMany(TooLarge):
    """A call holds more images than are accepted."""


class ResponseTooLarge(TooLarge):
    """The answer would have more bytes than the server may send."""


class UnsupportedImageFormat(SegmentationError):
    """An image, but in a format that is not accepted."""

    status = 415
    phrase = "Unsupported Media Type"


class RefinementUnavailable(SegmentationError):
    """The refinement asked for needs a package that this server does not have."""

    status = 501
    phrase = "Not Implemented"


class ExplanationUnavailable(SegmentationError):
    """Explanations need gradients, which this server's engine does not have."""

    status = 501
    phrase = "Not Implemented"


class InternalError(SegmentationError):
    """A fault of ours. What happened is in the log, not in the answer."""


@contextmanager
def located(place: str) -> Iterator[None]:
    """Say of an error within where in the request it is."""
    try:
        yield
    except SegmentationError as error:
        raise error.at(place) from error.__cause__


def attempt(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | SegmentationError:
    """The value of `function`, or what went wrong in it as an error to answer with.

    Whatever is not the client's fault becomes an `InternalError` that keeps its cause, for the log.
    """
    try:
        return function(*args, **kwargs)
    except SegmentationError as error:
        return error
    except Exception as error:
        fault = InternalError("the server failed to answer this request")
        fault.__cause__ = error
        return fault

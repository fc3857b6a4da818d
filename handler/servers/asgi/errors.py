"""Errors that the front process itself answers, with the error body that the whole service uses.

SegmentationError
├── Unauthorized          401
├── Forbidden             403
├── PathNotFound          404
├── ModelNotFound         404
├── MethodNotAllowed      405
├── RequestTimeout        408
├── BodyTooLarge          413
├── Misdirected           421
├── WorkerDied            500
├── Unavailable           503
│   ├── QueueFull         503
│   └── ModelNotReady     503
├── DeadlineExceeded      504
├── MetricsUnavailable    501
└── MalformedRequest      400
"""

import json
import re

from handler.errors import SegmentationError


class MalformedRequest(SegmentationError):
    """The request is not valid HTTP."""

    status = 400


class Unauthorized(SegmentationError):
    """The call needs a token, and has no valid one."""

    status = 401

    def __init__(self, message: str, error: str | None = None) -> None:
        super().__init__(message)
        #: The header `WWW-Authenticate` (RFC 6750, section 3); it has no error code if the call has no token at all.
        self.challenge = 'Bearer realm="deeplab"' + (f', error="{error}"' if error else "")


class Forbidden(SegmentationError):
    """The token does not have the scope that the call needs."""

    status = 403

    def __init__(self, message: str, scope: str) -> None:
        super().__init__(message)
        #: The header `WWW-Authenticate`.
        self.challenge = f'Bearer realm="deeplab", error="insufficient_scope", scope="{scope}"'


class PathNotFound(SegmentationError):
    """The server has no such path."""

    status = 404


class ModelNotFound(SegmentationError):
    """The model, or this version of it, is not served."""

    status = 404


class MethodNotAllowed(SegmentationError):
    """The path does not allow this method; the header `Allow` lists those it does."""

    status = 405


class RequestTimeout(SegmentationError):
    """The client sends its headers or body too slowly."""

    status = 408


class BodyTooLarge(SegmentationError):
    """The body is larger than any valid request."""

    status = 413


class Misdirected(SegmentationError):
    """The call names a host other than this server, as a page does after DNS rebinding."""

    status = 421


class WorkerDied(SegmentationError):
    """The worker running the request died, and so did the one that retried it."""


class Unavailable(SegmentationError):
    """The server cannot accept the request now. The header `Retry-After` says when to try again."""

    status = 503

    def __init__(self, message: str, retry_after: int = 1, reason: str | None = None) -> None:
        """`reason` is its label in the metrics; by default, the name of its type."""
        super().__init__(message)
        #: Seconds.
        self.retry_after = retry_after
        self.reason = reason


class QueueFull(Unavailable):
    """The server already holds as many waiting requests, or bytes of requests, as it may."""


class ModelNotReady(Unavailable):
    """No worker of the model can be started."""


class DeadlineExceeded(SegmentationError):
    """The answer was not ready in time."""

    status = 504


class MetricsUnavailable(SegmentationError):
    """The package for metrics is not installed."""

    status = 501


def rejection_reason(error: SegmentationError) -> str | None:
    """Return the label in the metrics of a rejection by the front process, such as `queue_full`, or None for a fault."""
    if error.status == 500:
        return None
    name = error.reason if isinstance(error, Unavailable) else None
    return name or re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


def error_body(error: SegmentationError) -> bytes:
    """Return the documented body of an error, the same as `handler.request.protocols.envelope.error_reply` writes.

    That module imports numpy, which the front process must not.
    """
    message = str(error)
    content = {"error": message, "code": error.status, "type": type(error).__name__, "message": message}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")

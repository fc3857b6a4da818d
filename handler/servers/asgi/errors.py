"""Refusals by the front process itself, in the error body that the whole service has.

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
    """Bytes that are not HTTP."""

    status = 400


class Unauthorized(SegmentationError):
    """A call without a valid token, where tokens are needed."""

    status = 401

    def __init__(self, message: str, error: str | None = None) -> None:
        super().__init__(message)
        #: The header `WWW-Authenticate` (RFC 6750, section 3), which names no error for a call without any token.
        self.challenge = 'Bearer realm="deeplab"' + (f', error="{error}"' if error else "")


class Forbidden(SegmentationError):
    """A call with a token that is for other calls."""

    status = 403

    def __init__(self, message: str, scope: str) -> None:
        super().__init__(message)
        #: The header `WWW-Authenticate`.
        self.challenge = f'Bearer realm="deeplab", error="insufficient_scope", scope="{scope}"'


class PathNotFound(SegmentationError):
    """A path that the server does not have."""

    status = 404


class ModelNotFound(SegmentationError):
    """A model, or a version of it, that is not served."""

    status = 404


class MethodNotAllowed(SegmentationError):
    """A method that the path does not take; the header `Allow` names those it does."""

    status = 405


class RequestTimeout(SegmentationError):
    """A client that sends its headers or its body too slowly."""

    status = 408


class BodyTooLarge(SegmentationError):
    """A body of more bytes than any request that could be answered."""

    status = 413


class Misdirected(SegmentationError):
    """A call under a host name that is not this server's, as a page sends it after DNS rebinding."""

    status = 421


class WorkerDied(SegmentationError):
    """The worker that held the request died, and so did the one that tried it again."""


class Unavailable(SegmentationError):
    """The request cannot be taken now. The header `Retry-After` says when to come again."""

    status = 503

    def __init__(self, message: str, retry_after: int = 1, reason: str | None = None) -> None:
        """`reason`: what the metrics call it; None: what its type is called."""
        super().__init__(message)
        #: Seconds.
        self.retry_after = retry_after
        self.reason = reason


class QueueFull(Unavailable):
    """As many requests, or bytes of them, wait as the server may hold."""


class ModelNotReady(Unavailable):
    """No worker of the model can be started."""


class DeadlineExceeded(SegmentationError):
    """The answer was not there in time."""

    status = 504


class MetricsUnavailable(SegmentationError):
    """The package that keeps the metrics is not installed."""

    status = 501


def rejection_reason(error: SegmentationError) -> str | None:
    """Return what the metrics call a refusal by the front process, as `queue_full`; None: it is a fault."""
    if error.status == 500:
        return None
    name = error.reason if isinstance(error, Unavailable) else None
    return name or re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


def error_body(error: SegmentationError) -> bytes:
    """Return the documented body of an error, as `handler.request.protocols.envelope.error_reply` writes it.

    That module imports numpy, which the front process does not.
    """
    message = str(error)
    content = {"error": message, "code": error.status, "type": type(error).__name__, "message": message}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")

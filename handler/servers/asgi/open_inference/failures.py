"""Errors for gRPC: status codes, and details that clients can decode."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import grpc

from handler.errors import SegmentationError
from handler.servers.asgi.errors import Unavailable
from handler.servers.asgi.messages import Answer
from handler.servers.asgi.open_inference.messages import message_class

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
#: A full queue, and an oversized message, for which gRPC itself uses the same code.
_EXHAUSTED_ERRORS = ("QueueFull", "BodyTooLarge")
#: Clients read at most 8 KiB of headers, which hold a message twice: percent-encoded, and in base64 among the details.
_MAX_MESSAGE_BYTES = 2_500
_DOMAIN = "deeplab-serve"
_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Failure:
    """Why a call is refused."""

    #: The HTTP status.
    status: int
    #: The `type` in the body of an HTTP answer.
    kind: str
    message: str
    #: Seconds.
    retry_after: int | None = None

    @classmethod
    def from_error(cls, error: SegmentationError) -> "Failure":
        retry_after = error.retry_after if isinstance(error, Unavailable) else None
        return cls(error.status, type(error).__name__, str(error), retry_after)

    @classmethod
    def from_answer(cls, answer: Answer) -> "Failure":
        """Return the failure in a worker's error answer."""
        body = json.loads(answer.body)
        return cls(answer.status, body["type"], body["message"])

    @property
    def code(self) -> grpc.StatusCode:
        if self.kind in _EXHAUSTED_ERRORS:
            return grpc.StatusCode.RESOURCE_EXHAUSTED
        return _CODES.get(self.status, grpc.StatusCode.UNKNOWN)

    @property
    def details(self) -> str:
        """The message, shortened if it does not fit into headers."""
        message = self.message
        while len(quote(message)) > _MAX_MESSAGE_BYTES:
            message = message[: len(message) * 3 // 4] + "…"
        return message

    def metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Return the trailing metadata: google.rpc.Status with ErrorInfo and RetryInfo, and `retry-after` as text."""
        details = [_pack_any("google.rpc.ErrorInfo", reason=self.kind, domain=_DOMAIN)]
        retry: list[tuple[str, str | bytes]] = []
        if self.retry_after is not None:
            details.append(_pack_any("google.rpc.RetryInfo", retry_delay={"seconds": self.retry_after}))
            retry.append(("retry-after", str(self.retry_after)))
        number: int = self.code.value[0]
        status = message_class("google.rpc.Status")(code=number, message=self.details, details=details)
        return [*retry, (_DETAILS, status.SerializeToString())]


def _pack_any(name: str, **fields: object) -> dict[str, str | bytes]:
    return {"type_url": f"type.googleapis.com/{name}", "value": message_class(name)(**fields).SerializeToString()}

"""Error responses by status, from the error classes: a class's name is the `type`, its docstring the description."""

from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Any

from handler import errors as handler_errors
from handler.errors import ExplanationUnavailable, InternalError, SegmentationError, TooLarge
from handler.servers.asgi import errors

Json = dict[str, Any]

#: Errors that any path may answer: from the connection, the request line, the headers, or an internal fault.
COMMON_ERRORS = frozenset({errors.MalformedRequest, errors.RequestTimeout, errors.Unavailable, InternalError})
TOKEN_ERRORS = frozenset({errors.Unauthorized, errors.Forbidden})
#: Operational paths are answered only under this server's host names.
HOST_ERRORS = frozenset({errors.Misdirected})
MODEL_ERRORS = frozenset({errors.ModelNotFound})
#: Errors of requests that reach a worker.
WORKER_ERRORS = frozenset({errors.QueueFull, errors.ModelNotReady, errors.DeadlineExceeded, errors.WorkerDied})
EXPLANATION_ERRORS = frozenset({ExplanationUnavailable})
PREDICTION_ERRORS = (
    frozenset(
        error
        for error in vars(handler_errors).values()
        if isinstance(error, type) and issubclass(error, SegmentationError) and error not in (SegmentationError, TooLarge)
    )
    - EXPLANATION_ERRORS
    | WORKER_ERRORS
    | {errors.BodyTooLarge}
)

ERROR: Json = {
    "description": "Why a request was refused. KServe v2 errors also have `id`, `model_name`, `model_version` and `outputs`.",
    "type": "object",
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "integer", "description": "the status"},
        "type": {"type": "string"},
        "message": {"type": "string", "description": "the same text as `error`"},
    },
    "required": ["error", "code", "type", "message"],
}
_RETRY_AFTER: Json = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
_CHALLENGE: Json = {"WWW-Authenticate": {"schema": {"type": "string"}}}


def refusals(types: Collection[type[SegmentationError]]) -> Json:
    """Return the error responses, by status, of a path that may raise these errors."""
    ordered = sorted(types, key=lambda error: (error.status, error.__name__))
    return {str(status): _response(status, list(group)) for status, group in groupby(ordered, key=lambda error: error.status)}


def _response(status: int, types: Iterable[type[SegmentationError]]) -> Json:
    descriptions = {error.__name__: " ".join((error.__doc__ or "").split()) for error in types}
    constraint = {"properties": {"type": {"enum": list(descriptions)}, "code": {"const": status}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Error"}, constraint]}
    # No request id here: a connection refused before its request is read has none.
    headers = {503: _RETRY_AFTER, 401: _CHALLENGE, 403: _CHALLENGE}.get(status, {})
    text = "\n".join(f"- `{name}`: {sentence}" for name, sentence in descriptions.items())
    return {
        "description": text,
        **({"headers": headers} if headers else {}),
        "content": {"application/json": {"schema": schema}},
    }

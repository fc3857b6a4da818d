"""Error responses by status, from the error classes: a class's name is the `type`, its docstring the description."""

from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Any

from handler import errors as handler_errors
from handler.errors import ExplanationUnavailable, InternalError, SegmentationError, TooLarge
from handler.servers.asgi import errors

Json = dict[str, Any]

#: Errors that any path may answer: from the connection, the request line, the headers, or an internal fault.
ANYWHERE = frozenset({errors.MalformedRequest, errors.RequestTimeout, errors.Unavailable, InternalError})
TOKEN_NEEDED = frozenset({errors.Unauthorized, errors.Forbidden})
#: Operational paths are answered only under this server's host names.
OTHER_HOST = frozenset({errors.Misdirected})
NAMED_MODEL = frozenset({errors.ModelNotFound})
#: Errors of requests that reach a worker.
ASKED_MODEL = frozenset({errors.QueueFull, errors.ModelNotReady, errors.DeadlineExceeded, errors.WorkerDied})
EXPLANATION = frozenset({ExplanationUnavailable})
PREDICTION = (
    frozenset(
        error
        for error in vars(handler_errors).values()
        if isinstance(error, type) and issubclass(error, SegmentationError) and error not in (SegmentationError, TooLarge)
    )
    - EXPLANATION
    | ASKED_MODEL
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
    return {str(status): _response(status, list(same)) for status, same in groupby(ordered, key=lambda error: error.status)}


def _response(status: int, types: Iterable[type[SegmentationError]]) -> Json:
    about = {error.__name__: " ".join((error.__doc__ or "").split()) for error in types}
    narrowed = {"properties": {"type": {"enum": list(about)}, "code": {"const": status}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Error"}, narrowed]}
    # No request id here: a connection refused before its request is read has none.
    headers = {503: _RETRY_AFTER, 401: _CHALLENGE, 403: _CHALLENGE}.get(status, {})
    text = "\n".join(f"- `{name}`: {sentence}" for name, sentence in about.items())
    return {
        "description": text,
        **({"headers": headers} if headers else {}),
        "content": {"application/json": {"schema": schema}},
    }

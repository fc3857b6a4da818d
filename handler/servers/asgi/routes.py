"""The server's paths, for any number of models: TorchServe's, KServe v1 and v2, and probes."""

import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from handler.errors import InternalError, InvalidRequest, SegmentationError
from handler.servers.asgi.body import BodyBudget, discard_body, has_body, read_body
from handler.servers.asgi.compression import compress
from handler.servers.asgi.errors import (
    Forbidden,
    MethodNotAllowed,
    MetricsUnavailable,
    PathNotFound,
    RequestTimeout,
    Unauthorized,
    Unavailable,
    error_body,
)
from handler.servers.asgi.guard import RequestGuard
from handler.servers.asgi.logs import RequestRecord, error_location, log_event
from handler.servers.asgi.messages import HttpRequest
from handler.servers.asgi.models import SERVER, describe_model, find_model, max_request_bytes
from handler.servers.asgi.openapi import ServedDocument
from handler.servers.asgi.page import page_paths, send_page_file
from handler.servers.asgi.request_queue import ClientGone
from handler.servers.asgi.rollout import Rollout
from handler.servers.asgi.telemetry import Telemetry
from handler.servers.asgi.workers import ModelWorkers

#: nginx's status for a client that hung up; used in the log only.
_CLIENT_GONE = 499
_RECORD = "deeplab.record"
#: SageMaker's header for multi-model endpoints; its value is the name of an archive.
_TARGET_MODEL = "X-Amzn-SageMaker-Target-Model"
_ARCHIVE_SUFFIX = re.compile(r"\.(mar|tar\.gz)$")

_JSON_TYPE = "application/json"

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class FrontSettings:
    """What the routes need."""

    models: Mapping[str, ModelWorkers]
    #: Longest pause in a body, in seconds.
    body_timeout: float
    body_budget: BodyBudget
    guard: RequestGuard
    telemetry: Telemetry
    rollout: Rollout


class Front:
    """The ASGI application: routes, error bodies, request ids and the request log."""

    def __init__(self, settings: FrontSettings) -> None:
        self._models = settings.models
        self._body_timeout = settings.body_timeout
        self._body_budget = settings.body_budget
        self._telemetry = settings.telemetry
        self._guard = settings.guard
        self._rollout = settings.rollout
        self._document = ServedDocument(self._models, needs_tokens=self._guard.access.needs_tokens)
        self._router = Router(self._routes(), redirect_slashes=False, default=_Route("", _path_not_found, (), self._guard))
        #: Set at shutdown: the server finishes the requests it has, and accepts no more.
        self.is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = scope["deeplab.headers"] = text_headers(scope["headers"])
        headers.pop("authorization", None)  # Workers do not need it; the guard reads it from the scope.
        record = scope[_RECORD] = self._telemetry.begin(scope["method"], scope["headers"])
        try:
            await self._router({**scope, "path": normalize_path(scope["path"])}, receive, send)
        except ClientGone:
            record.status, record.reason = _CLIENT_GONE, "client_gone"
        finally:
            self._telemetry.finish(record)

    def _routes(self) -> list[Route]:
        post, get = ("POST", "PUT"), ("GET", "HEAD")
        routes: list[tuple[str, Endpoint, Sequence[str]]] = [
            ("/ping", self._ping, get),
            ("/v1/models", self._v1_models, get),
            ("/v1/models/{model}:predict", self._predict, post),
            ("/v1/models/{model}:explain", self._explain, post),
            ("/v1/models/{model}", self._model_ready, get),
            ("/v2", self._v2, get),
            ("/v2/health/live", self._live, get),
            ("/v2/health/ready", self._ready, get),
            ("/models", self._list_models, get),
            ("/invocations", self._invoke, post),
            ("/openapi.json", self._openapi, get),
            *((path, send_page_file, get) for path in page_paths()),
            ("/metrics", self._metrics, get),
        ]
        for version in ("", "/{version}"):
            routes.append((f"/models/{{model}}{version}", self._describe, get))
            for path in ("", "/{format:path}") if version else ("",):
                routes.append((f"/predictions/{{model}}{version}{path}", self._predict, post))
                routes.append((f"/explanations/{{model}}{version}{path}", self._explain, post))
        for version in ("", "/versions/{version}"):
            base = f"/v2/models/{{model}}{version}"
            routes.append((base, self._v2_model, get))
            routes.append((f"{base}/ready", self._model_ready, get))
            routes.append((f"{base}/infer", self._predict, post))
        return [Route(path, _Route(path, endpoint, methods, self._guard)) for path, endpoint, methods in routes]

    @property
    def is_ready(self) -> bool:
        """Whether every model is ready to answer."""
        return not self.is_draining and all(model.is_ready for model in self._models.values())

    async def _ping(self, _: Request) -> Response:
        return _json({"status": "Healthy" if self.is_ready else "Unhealthy"}, 200 if self.is_ready else 503)

    async def _live(self, _: Request) -> Response:
        return _json({"live": True})

    async def _ready(self, _: Request) -> Response:
        return _json({"ready": self.is_ready}, 200 if self.is_ready else 503)

    async def _metrics(self, request: Request) -> Response:
        if self._telemetry.metrics is None:
            raise MetricsUnavailable("this server keeps no metrics: the package prometheus-client is not installed")
        names = request.query_params.getlist("name[]")  # As in TorchServe.
        content, content_type = self._telemetry.metrics.exposition(request.headers.get("accept", ""), names)
        return Response(content, media_type=content_type)

    async def _v1_models(self, _: Request) -> Response:
        return _json({"models": list(self._models)})

    async def _v2(self, _: Request) -> Response:
        return _json(SERVER)

    async def _v2_model(self, request: Request) -> Response:
        return _json(describe_model(self._model(request)))

    async def _openapi(self, request: Request) -> Response:
        body, encoding = await compress(self._document.content(), _JSON_TYPE, request.scope["deeplab.headers"])
        return Response(body, headers=encoding, media_type=_JSON_TYPE)

    async def _model_ready(self, request: Request) -> Response:
        model = self._model(request)
        is_ready = model.is_ready and not self.is_draining
        return _json({"name": model.settings.model, "ready": is_ready}, 200 if is_ready else 503)

    async def _list_models(self, _: Request) -> Response:
        return _json({"models": [{"modelName": name, "modelUrl": f"{name}.mar"} for name in self._models]})

    async def _describe(self, request: Request) -> Response:
        _record(request).action = "describe"
        model = self._model(request)
        waiting = len(model.queue)
        content: dict[str, Any] = {
            "modelName": model.settings.model,
            "modelVersion": model.ready.model_version if model.ready else None,
            "minWorkers": len(model.describe()),
            "maxWorkers": len(model.describe()),
            "workers": model.describe(),
            "jobQueueStatus": {"remainingCapacity": model.queue.max_waiting - waiting, "pendingRequests": waiting},
        }
        if _read_flag(request, "customized"):
            ticket = model.queue.put(HttpRequest(_record(request).id, "describe"))
            answer = await model.queue.wait(ticket, _wait_for_disconnect(request.receive))
            _record(request).add_answer(answer)
            content["customizedMetadata"] = json.loads(answer.body)
        return _json([content])

    async def _predict(self, request: Request) -> Response:
        return await self._answer(request, "predict")

    async def _explain(self, request: Request) -> Response:
        return await self._answer(request, "explain")

    async def _invoke(self, request: Request) -> Response:
        """Answer SageMaker's path, which names no model."""
        target = request.scope["deeplab.headers"].get(_TARGET_MODEL.lower())
        if target is None and len(self._models) > 1:
            raise InvalidRequest(
                f"several models are served here; name one in the header {_TARGET_MODEL}: {', '.join(self._models)}"
            )
        name = _ARCHIVE_SUFFIX.sub("", target.strip().strip("/")) if target else next(iter(self._models))
        request.path_params["model"] = name
        return await self._answer(request, "predict")

    async def _answer(self, request: Request, action: Literal["predict", "explain"]) -> Response:
        record, headers = _record(request), request.scope["deeplab.headers"]
        record.action = action
        model = self._model(request)
        served_by: Mapping[str, str] = {}
        if request.path_params.get("version") is None:
            model, served_by = self._rollout.choose(model, record.id)
            record.model = model.settings.model
        model.queue.check_room()
        with self._body_budget.hold() as share:
            body = await read_body(request.receive, headers, max_request_bytes(model), self._body_timeout, share)
            record.bytes_in = len(body)
            record.add("read", record.started_at, time.monotonic())
            request.scope["deeplab.body_read"] = True
            format_name = request.path_params.get("format", "").strip("/") or None
            query = request.scope["query_string"].decode("latin-1")
            traced = record.trace is not None and record.trace.is_recorded
            http_request = HttpRequest(record.id, action, format_name, headers, query, body, traced)
            worker_request = self._rollout.prepare(model, http_request)
            ticket = model.queue.put(worker_request)
            answer = await model.queue.wait(ticket, _wait_for_disconnect(request.receive))
        record.add("queue", ticket.queued_at, ticket.started_at or ticket.queued_at)
        record.add_answer(answer)
        self._rollout.mirror(model, worker_request, answer)
        content, encoding = await compress(answer.body, answer.content_type, headers)
        timing = {"Server-Timing": ", ".join(f"{stage};dur={duration}" for stage, duration in record.milliseconds.items())}
        return Response(content, answer.status, {**answer.headers, **encoding, **timing, **served_by}, answer.content_type)

    def _model(self, request: Request) -> ModelWorkers:
        """Return the model that the path names.

        Raises:
            ModelNotFound: the model is not served, or not in this version.
        """
        model = find_model(self._models, request.path_params["model"], request.path_params.get("version"))
        _record(request).model = model.settings.model
        return model


class _Route:
    """The ASGI application of one path: `OPTIONS`, methods that are not allowed, and errors."""

    def __init__(self, path: str, endpoint: Endpoint, methods: Sequence[str], guard: RequestGuard) -> None:
        self._path = path
        self._endpoint = endpoint
        self._methods = methods
        self._allow = ", ".join([*methods, "OPTIONS"])
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, record = Request(scope, receive, send), scope[_RECORD]
        record.route = self._path
        response = await self._respond(request)
        self._guard.finish(request, response)
        record.status, record.bytes_out = response.status_code, len(response.body)
        response.headers["X-Request-ID"] = record.id
        if record.trace is not None:
            response.headers["traceparent"] = str(record.trace.parent)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            _record(request).token = self._guard.admit(request, self._path)
            if not self._methods or request.method in self._methods:
                return await self._endpoint(request)
            if request.method == "OPTIONS":
                return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": self._allow})
            raise MethodNotAllowed(f"{request.method} is not allowed for this path; allowed are {self._allow}")
        except SegmentationError as error:
            headers = {"Allow": self._allow} if isinstance(error, MethodNotAllowed) else {}
            return await self._refuse(request, error, headers)
        except ClientGone:
            raise
        except Exception as error:
            record = _record(request)
            log_event("fault", id=record.id, route=self._path, reason=error_location(error))
            fault = InternalError(f"the server failed to answer this request; its log has the reason under request {record.id}")
            return await self._refuse(request, fault, {})

    async def _refuse(self, request: Request, error: SegmentationError, headers: dict[str, str]) -> Response:
        _record(request).refuse(error)
        if isinstance(error, Unauthorized | Forbidden):
            headers["WWW-Authenticate"] = error.challenge
        if isinstance(error, Unavailable):
            headers["Retry-After"] = str(error.retry_after)
        request_headers: Mapping[str, str] = request.scope["deeplab.headers"]
        if has_body(request_headers) and "deeplab.body_read" not in request.scope:
            headers["Connection"] = "close"
            if "expect" not in request_headers and not isinstance(error, RequestTimeout):
                await discard_body(request.receive)
        return Response(error_body(error), error.status, headers, "application/json")


def normalize_path(path: str) -> str:
    """Return a path without doubled and trailing slashes, which clients produce by joining a URL and a path."""
    return re.sub("/{2,}", "/", path).rstrip("/") or "/"


def text_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by lower-case name. Values are decoded as UTF-8, for example in class names, otherwise as Latin-1."""
    return {name.decode("latin-1"): _decode_header(value) for name, value in headers}


def _decode_header(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _record(request: Request) -> RequestRecord:
    record: RequestRecord = request.scope[_RECORD]
    return record


async def _wait_for_disconnect(receive: Receive) -> None:
    """Return when the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _read_flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false")
    if value.lower() not in ("true", "false"):
        raise InvalidRequest(f"{name} is {value[:80]!r}, it should be true or false")
    return value.lower() == "true"


async def _path_not_found(request: Request) -> Response:
    # A page can only read this 404 if its preflight succeeds.
    if request.method == "OPTIONS" and (request.scope["path"] == "*" or "access-control-request-method" in request.headers):
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": "GET, HEAD, POST, PUT, OPTIONS"})
    raise PathNotFound("no such path; models are at /predictions/NAME, /v1/models/NAME:predict and /v2/models/NAME/infer")


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content, separators=(",", ":")), status, media_type="application/json")

"""The routes that Label Studio calls on a machine learning backend. https://labelstud.io/guide/ml_create"""

import base64
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scripts.client import AnswerError, Client
from scripts.errors import print_warning
from scripts.label_studio_backend.errors import BackendError, InvalidCall, NoTaskAnswered
from scripts.label_studio_backend.predictions import Predictor

#: Tasks may contain whole images as data: URIs.
_MAX_BODY_BYTES = 256_000_000

Endpoint = Callable[[Request], Awaitable[Response]]


def build_app(predictor: Predictor, client: Client, user: str = "", password: str = "") -> Starlette:
    """Return the application; if `user` is given, calls need HTTP basic authentication."""

    async def health(_: Request) -> Response:
        await run_in_threadpool(client.require_server)
        return JSONResponse({"status": "UP", "model_class": "DeepLabServe"})

    async def setup(request: Request) -> Response:
        call = await _read_json(request)
        version = await run_in_threadpool(predictor.check, _label_config(call, "schema"))
        return JSONResponse({"model_version": version})

    async def predict(request: Request) -> Response:
        call = await _read_json(request)
        tasks = call.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
            raise InvalidCall("'tasks' should be a list of tasks")
        results = await run_in_threadpool(predictor.predict, tasks, _label_config(call, "label_config"))
        return JSONResponse({"results": results, "model_version": results[0]["model_version"] if results else None})

    def route(path: str, endpoint: Endpoint, method: str) -> Route:
        return Route(path, _reporting(_authenticated(endpoint, user, password)), methods=[method])

    routes = [route("/", health, "GET"), route("/health", health, "GET")]
    return Starlette(routes=[*routes, route("/setup", setup, "POST"), route("/predict", predict, "POST")])


async def _read_json(request: Request) -> Mapping[str, Any]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise InvalidCall(f"the call has more than {_MAX_BODY_BYTES:,} bytes; send fewer tasks at once")
    try:
        call = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidCall(f"the call is not JSON: {error}") from error
    if not isinstance(call, Mapping):
        raise InvalidCall("the call is not a JSON object")
    return call


def _label_config(call: Mapping[str, Any], name: str) -> str:
    value = call.get(name)
    if not isinstance(value, str):
        raise InvalidCall(f"{name!r} should be the project's labelling configuration, as XML")
    return value


def _reporting(endpoint: Endpoint) -> Endpoint:
    """Answer errors as JSON, and log them, because Label Studio shows only their status."""

    async def report(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (AnswerError, BackendError) as error:
            print_warning(str(error))
            status = _status(error)
            return JSONResponse({"status": "DOWN" if isinstance(error, AnswerError) else "ERROR", "error": str(error)}, status)

    return report


def _status(error: AnswerError | BackendError) -> HTTPStatus:
    if isinstance(error, AnswerError):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.UNPROCESSABLE_ENTITY if isinstance(error, NoTaskAnswered) else HTTPStatus.BAD_REQUEST


def _authenticated(endpoint: Endpoint, user: str, password: str) -> Endpoint:
    expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    async def authenticate(request: Request) -> Response:
        if user and not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected):
            challenge = {"WWW-Authenticate": "Basic"}
            return JSONResponse({"error": "user or password is wrong"}, HTTPStatus.UNAUTHORIZED, headers=challenge)
        return await endpoint(request)

    return authenticate

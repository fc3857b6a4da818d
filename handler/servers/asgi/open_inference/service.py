"""In the front process: the gRPC services, with the same access checks, queue and log as HTTP."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from handler.errors import InternalError, InvalidRequest, SegmentationError
from handler.servers.asgi.access import OPERATE, PREDICT
from handler.servers.asgi.errors import BodyTooLarge, ModelNotReady
from handler.servers.asgi.logs import RequestRecord, error_location, log_event
from handler.servers.asgi.messages import HttpRequest
from handler.servers.asgi.models import SERVER, describe_model, find_model, max_request_bytes
from handler.servers.asgi.open_inference.failures import Failure
from handler.servers.asgi.open_inference.messages import message_class, parse
from handler.servers.asgi.routes import Front, FrontSettings
from handler.servers.asgi.workers import ModelWorkers

_SERVICE, _HEALTH = "inference.GRPCInferenceService", "grpc.health.v1.Health"
_SERVING, _NOT_SERVING = 1, 2
_EITHER_SCOPE = (PREDICT, OPERATE)
#: Status and reason for log and metrics, if the client's deadline has passed or it has hung up (nginx's status 499).
_TOO_LATE, _CLIENT_GONE = (504, "deadline_exceeded"), (499, "client_gone")
#: Metadata that set options, like the headers of HTTP.
_OPTION_PREFIX = "x-segment-"

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class _Call:
    """One call as received."""

    #: The parsed message; for ModelInfer, only its model name and version.
    message: Any
    content: bytes
    metadata: Metadata
    record: RequestRecord


class _CallRefused(Exception):
    """A call that a worker has answered with an error."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class InferenceService:
    """Answers gRPC calls with the server's models."""

    def __init__(self, settings: FrontSettings, front: Front) -> None:
        """Share `settings` with the HTTP `front`, which knows whether the server is ready."""
        self._settings = settings
        self._front = front

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the methods of both services."""
        inference: dict[str, _Method] = {
            "ServerLive": _Method("inference.ServerLiveRequest", self._server_live),
            "ServerReady": _Method("inference.ServerReadyRequest", self._server_ready),
            "ModelReady": _Method("inference.ModelReadyRequest", self._model_ready, _EITHER_SCOPE),
            "ServerMetadata": _Method("inference.ServerMetadataRequest", self._server_metadata, _EITHER_SCOPE),
            "ModelMetadata": _Method("inference.ModelMetadataRequest", self._model_metadata, _EITHER_SCOPE),
            "ModelInfer": _Method("deeplab.Destination", self._model_infer, (PREDICT,)),
        }
        health = {"Check": _Method("grpc.health.v1.HealthCheckRequest", self._check_health)}
        return [self._service(_SERVICE, inference), self._service(_HEALTH, health)]

    def _service(self, name: str, methods: Mapping[str, "_Method"]) -> grpc.GenericRpcHandler:
        handlers = {method_name: self._handler(f"/{name}/{method_name}", method) for method_name, method in methods.items()}
        return grpc.method_handlers_generic_handler(name, handlers)

    def _handler(self, path: str, method: "_Method") -> grpc.RpcMethodHandler:
        async def answer(content: bytes, context: Any) -> bytes:
            metadata = list(context.invocation_metadata() or ())
            record = self._settings.telemetry.begin("POST", [(name.encode(), _to_bytes(value)) for name, value in metadata])
            record.route, record.bytes_in = path, len(content)
            trailing: list[tuple[str, str | bytes]] = [("x-request-id", record.id)]
            if record.trace is not None:
                trailing.append(("traceparent", str(record.trace.parent)))
            try:
                response = await self._respond(method, content, metadata, record)
            except asyncio.CancelledError:
                record.status, record.reason = _TOO_LATE if context.time_remaining() == 0 else _CLIENT_GONE
                raise
            finally:
                self._settings.telemetry.finish(record)
            if isinstance(response, bytes):
                context.set_trailing_metadata(tuple(trailing))
                return response
            await context.abort(response.code, response.details, (*trailing, *response.metadata()))
            return b""  # `abort` raises.

        # Messages are parsed and serialized here: gRPC would report a malformed one as a fault of the server.
        return grpc.unary_unary_rpc_method_handler(answer)

    async def _respond(self, method: "_Method", content: bytes, metadata: Metadata, record: RequestRecord) -> bytes | Failure:
        """Return the serialized response, or the failure."""
        try:
            if method.scopes:
                record.token = self._settings.guard.access.check(
                    [str(value) for name, value in metadata if name == "authorization"], method.scopes
                )
            message = parse(method.request, content)
            if message is None:
                raise InvalidRequest(f"the message is not a request for {record.route}")
            response = await method.endpoint(_Call(message, content, metadata, record))
            record.status = 200
        except _CallRefused as error:
            failure = error.failure
        except SegmentationError as error:
            failure = Failure.from_error(error)
            record.refuse(error)
        except Exception as error:
            log_event("fault", id=record.id, route=record.route, reason=error_location(error))
            fault = InternalError(f"the server failed to answer this request; its log has the reason under request {record.id}")
            failure = Failure.from_error(fault)
            record.refuse(fault)
        else:
            body: bytes = response if isinstance(response, bytes) else response.SerializeToString()
            record.bytes_out = len(body)
            return body
        record.status = failure.status
        return failure

    async def _server_live(self, _: _Call) -> Any:
        return message_class("inference.ServerLiveResponse")(live=True)

    async def _server_ready(self, _: _Call) -> Any:
        return message_class("inference.ServerReadyResponse")(ready=self._front.is_ready)

    async def _model_ready(self, call: _Call) -> Any:
        model = self._model(call, call.message.name, call.message.version)
        is_ready = model.is_ready and not self._front.is_draining
        return message_class("inference.ModelReadyResponse")(ready=is_ready)

    async def _server_metadata(self, _: _Call) -> Any:
        return message_class("inference.ServerMetadataResponse")(**SERVER)

    async def _model_metadata(self, call: _Call) -> Any:
        model = self._model(call, call.message.name, call.message.version)
        return message_class("inference.ModelMetadataResponse")(**describe_model(model))

    async def _check_health(self, call: _Call) -> Any:
        name = call.message.service
        is_ready = self._front.is_ready
        if name not in ("", _SERVICE):
            is_ready = self._model(call, name).is_ready and not self._front.is_draining
        return message_class("grpc.health.v1.HealthCheckResponse")(status=_SERVING if is_ready else _NOT_SERVING)

    def _model(self, call: _Call, name: str, version: str = "") -> ModelWorkers:
        """Return the model called `name`.

        Raises:
            ModelNotFound: the model is not served, or not in this version.
        """
        model = find_model(self._settings.models, name, version or None)
        call.record.model = name
        return model

    async def _model_infer(self, call: _Call) -> bytes:
        record, size = call.record, len(call.content)
        record.action = "predict"
        model = self._model(call, call.message.model_name, call.message.model_version)
        if self._front.is_draining:
            raise ModelNotReady("the server is ending")
        if not call.message.model_version:
            model, _ = self._settings.rollout.choose(model, record.id)
            record.model = model.settings.model
        if size > max_request_bytes(model):
            raise BodyTooLarge(f"the message has {size:,} bytes, the limit is {max_request_bytes(model):,}")
        with self._settings.body_budget.hold() as share:
            share.grow_to(size)
            options = {name: str(value) for name, value in call.metadata if name.startswith(_OPTION_PREFIX)}
            traced = record.trace is not None and record.trace.is_recorded
            request = HttpRequest(record.id, "predict", headers=options, body=call.content, traced=traced, protocol="grpc")
            request = self._settings.rollout.prepare(model, request)
            ticket = model.queue.put(request)
            answer = await model.queue.wait(ticket, _wait_forever())
        record.add("queue", ticket.queued_at, ticket.started_at or ticket.queued_at)
        record.add_answer(answer)
        self._settings.rollout.mirror(model, request, answer)
        if answer.status != 200:
            raise _CallRefused(Failure.from_answer(answer))
        return answer.body


@dataclass(frozen=True)
class _Method:
    """One method of a service."""

    #: The full name of the request's message.
    request: str
    #: Returns the response, as a message or serialized.
    endpoint: Callable[[_Call], Awaitable[Any]]
    #: Any of these scopes gives access to the method; empty if no token is needed.
    scopes: Sequence[str] = ()


def _to_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


async def _wait_forever() -> None:
    """Wait until gRPC cancels the call, which happens when the client hangs up or its deadline passes."""
    await asyncio.Event().wait()

"""A client of the gRPC services, without generated stubs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc

from handler.servers.asgi.open_inference.messages import message_class
from tests.unit.handler.servers.asgi.support import TIMEOUT_S

Metadata = Sequence[tuple[str, str]]
INFERENCE = "inference.GRPCInferenceService"


class Client:
    """Call methods by name."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def method(self, path: str, response: str) -> Any:
        return self._channel.unary_unary(
            path,
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=message_class(response).FromString,
        )

    def ask(self, name: str, metadata: Metadata = (), /, **fields: Any) -> Any:
        """Call a method other than ModelInfer."""
        method = self.method(f"/{INFERENCE}/{name}", f"inference.{name}Response")
        return method(message_class(f"inference.{name}Request")(**fields), metadata=metadata, timeout=TIMEOUT_S)

    def health(self, service: str = "") -> int:
        method = self.method("/grpc.health.v1.Health/Check", "grpc.health.v1.HealthCheckResponse")
        status: int = method(message_class("grpc.health.v1.HealthCheckRequest")(service=service), timeout=TIMEOUT_S).status
        return status

    @property
    def infer(self) -> Any:
        return self.method(f"/{INFERENCE}/ModelInfer", "inference.ModelInferResponse")

    def send_command(self, command: str, metadata: Metadata = ()) -> str:
        """Send a command to a fake worker and return the word in its answer."""
        word: str = self.infer(infer_request(command), metadata=metadata, timeout=TIMEOUT_S).id
        return word


def infer_request(command: str, model: str = "fake", **fields: Any) -> Any:
    tensor = {"name": "a", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [command.encode()]}}
    return message_class("inference.ModelInferRequest")(model_name=model, inputs=[tensor], **fields)


@contextmanager
def connect(address: str, credentials: grpc.ChannelCredentials | None = None) -> Iterator[Client]:
    options = [("grpc.enable_retries", 0)]
    channel = grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address, options)
    with channel as channel:
        yield Client(channel)


def read_error(error: grpc.RpcError) -> dict[str, Any]:
    """Return the code and the details of an error."""
    trailing = {entry.key: entry.value for entry in error.trailing_metadata()}
    status = message_class("google.rpc.Status").FromString(trailing["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    fields: dict[str, Any] = {"code": error.code().name, "retry-after": trailing.get("retry-after")}
    for detail in status.details:
        message = message_class(detail.type_url.rpartition("/")[2]).FromString(detail.value)
        fields |= {"reason": message.reason} if "ErrorInfo" in detail.type_url else {"delay": message.retry_delay.seconds}
    return fields

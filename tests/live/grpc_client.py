"""What a test asks of a server by gRPC. The stubs are made from the .proto files that TorchServe's own server has in it."""

import sys
import tempfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import ts

from scripts.server import Server
from tests.live.client import TIMEOUT_S

_JAR = Path(ts.__file__).parent / "frontend" / "model-server.jar"
#: Names in the jar, and as they import each other.
_PROTOS = {"proto/inference.proto": "inference.proto", "google/rpc/status.proto": "google/rpc/status.proto"}


@cache
def _inference() -> tuple[Any, Any]:
    """The modules of messages and of services."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(_JAR) as jar:
        for name, target in _PROTOS.items():
            path = Path(folder) / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jar.read(name))
        sys.path.insert(0, folder)
        try:
            return grpc.protos_and_services("inference.proto")
        finally:
            sys.path.remove(folder)


def predict(server: Server, inputs: Mapping[str, bytes], version: str = "") -> bytes:
    """The answer's bytes; gRPC has neither a content type nor the status of an error that the handler answers.

    Raises:
        grpc.RpcError: the call itself failed.
    """
    messages, services = _inference()
    with grpc.insecure_channel(f"127.0.0.1:{server.ports.grpc_inference}") as channel:
        stub = services.InferenceAPIsServiceStub(channel)
        asked = messages.PredictionsRequest(model_name=server.model, model_version=version, input=dict(inputs))
        answer: bytes = stub.Predictions(asked, timeout=TIMEOUT_S).prediction
        return answer

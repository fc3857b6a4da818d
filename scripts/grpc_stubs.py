"""Generate gRPC stubs from the .proto files in TorchServe's server. Needs grpcio-tools."""

import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import ts

_JAR = Path(ts.__file__).parent / "frontend" / "model-server.jar"
#: Paths in the jar, and the paths by which the files import each other.
_PROTOS = {
    "proto/inference.proto": "inference.proto",
    "google/rpc/status.proto": "google/rpc/status.proto",
    "proto/open_inference_grpc.proto": "open_inference_grpc.proto",
}


@cache
def inference_stubs() -> tuple[Any, Any]:
    """Return the message and service modules of TorchServe's inference API."""
    return _stubs("inference.proto")


@cache
def open_inference_stubs() -> tuple[Any, Any]:
    """Return the message and service modules of TorchServe's Open Inference Protocol."""
    return _stubs("open_inference_grpc.proto")


def _stubs(proto: str) -> tuple[Any, Any]:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(_JAR) as jar:
        for name, target in _PROTOS.items():
            path = Path(folder) / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jar.read(name))
        sys.path.insert(0, folder)
        try:
            messages, services = grpc.protos_and_services(proto)
            return messages, services
        finally:
            sys.path.remove(folder)

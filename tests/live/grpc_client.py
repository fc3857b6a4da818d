"""Calls to a live server over gRPC."""

from collections.abc import Mapping
from typing import Any

import grpc

from scripts.grpc_stubs import inference_stubs, open_inference_stubs
from scripts.server import Server
from tests.live.client import TIMEOUT_S


def predict(server: Server, inputs: Mapping[str, bytes], version: str = "") -> bytes:
    """Return the bytes of the answer; gRPC carries neither its content type nor the status of the handler's errors.

    Raises:
        grpc.RpcError: the call itself failed.
    """
    messages, services = inference_stubs()
    with grpc.insecure_channel(f"127.0.0.1:{server.ports.grpc_inference}") as channel:
        stub = services.InferenceAPIsServiceStub(channel)
        request = messages.PredictionsRequest(model_name=server.model, model_version=version, input=dict(inputs))
        answer: bytes = stub.Predictions(request, timeout=TIMEOUT_S).prediction
        return answer


def infer(server: Server, *images: bytes, **fields: Any) -> Any:
    """Return the `ModelInferResponse` of TorchServe's Open Inference Protocol; `fields` are added to the request.

    Raises:
        grpc.RpcError: the call itself failed.
    """
    messages, services = open_inference_stubs()
    tensor = messages.ModelInferRequest.InferInputTensor(
        name="photo",
        datatype="BYTES",
        shape=[max(1, len(images))],
        contents=messages.InferTensorContents(bytes_contents=images),
    )
    with grpc.insecure_channel(f"127.0.0.1:{server.ports.grpc_inference}") as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        request = messages.ModelInferRequest(model_name=server.model, **{"inputs": [tensor], **fields})
        return stub.ModelInfer(request, timeout=TIMEOUT_S)

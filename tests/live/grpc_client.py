"""What a test asks of a server by gRPC."""

from collections.abc import Mapping

import grpc

from scripts.grpc_stubs import inference_stubs
from scripts.server import Server
from tests.live.client import TIMEOUT_S


def predict(server: Server, inputs: Mapping[str, bytes], version: str = "") -> bytes:
    """The answer's bytes; gRPC has neither a content type nor the status of an error that the handler answers.

    Raises:
        grpc.RpcError: the call itself failed.
    """
    messages, services = inference_stubs()
    with grpc.insecure_channel(f"127.0.0.1:{server.ports.grpc_inference}") as channel:
        stub = services.InferenceAPIsServiceStub(channel)
        asked = messages.PredictionsRequest(model_name=server.model, model_version=version, input=dict(inputs))
        answer: bytes = stub.Predictions(asked, timeout=TIMEOUT_S).prediction
        return answer

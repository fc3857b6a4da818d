"""Call live servers through the kserve SDK and print each answer as JSON. Run in an environment with kserve.

Usage: kserve_sdk.py PHOTO URL[,HOST:PORT of gRPC]...
"""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from grpc import RpcError
from httpx import HTTPStatusError
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

MODEL = "deeplabv3"


async def call(url: str, image: bytes | str, *, binary: bool = True, **parameters: Any) -> Any:
    """Return the element of the only KServe v2 output, or the text of an error; the SDK's default is binary."""
    tensor = InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([image], dtype=object), binary_data=binary)
    request = InferRequest(model_name=MODEL, infer_inputs=[tensor], parameters=parameters or None)
    try:
        response = await InferenceRESTClient(RESTConfig(protocol="v2")).infer(url, request, model_name=MODEL)
    except HTTPStatusError as error:
        return str(error)
    (element,) = response.outputs[0].as_numpy()
    return element.decode() if isinstance(element, bytes) else element


async def call_grpc(address: str, photo: bytes) -> dict[str, Any]:
    """Return gRPC's answer to each kind of call."""
    async with InferenceGRPCClient(address) as client:
        ready = [await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready(MODEL)]
        requests = {
            "defaults": request(photo),
            "base64": request(_text(photo), binary=False),
            "png": request(photo, format="png"),
            "label_map": request(photo, outputs=[RequestedOutput("label_map")]),
        }
        arrays = {name: (await client.infer(infer_request)).outputs[0].as_numpy() for name, infer_request in requests.items()}
        try:
            broken = str(await client.infer(request(b"broken")))
        except RpcError as error:
            broken = f"{error.code().name} {error.details()}"
    contents = {name: array[0] if array.dtype == object else array.tobytes() for name, array in arrays.items()}
    shape = list(arrays["label_map"].shape)
    return {"ready": ready, "broken": broken, "shape": shape} | {name: _text(content) for name, content in contents.items()}


def request(image: bytes | str, *, binary: bool = True, outputs: Any = None, **parameters: Any) -> InferRequest:
    tensor = InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([image], dtype=object), binary_data=binary)
    return InferRequest(model_name=MODEL, infer_inputs=[tensor], parameters=parameters or None, request_outputs=outputs)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def main(photo: bytes, addresses: list[str]) -> list[dict[str, Any]]:
    """Return each server's answers."""
    pairs = [address.partition(",") for address in addresses]
    return [await call_all(url, photo, grpc_address) for url, _, grpc_address in pairs]


async def call_all(url: str, photo: bytes, grpc_address: str) -> dict[str, Any]:
    """Return the answer to each kind of call."""
    first, second = (InferenceRESTClient(RESTConfig(protocol=protocol)) for protocol in ("v1", "v2"))
    text = base64.b64encode(photo).decode()
    # TensorFlow's sample of an image.
    sample = {"instances": [{"image_bytes": {"b64": text}, "key": "1"}]}
    return {
        "grpc": await call_grpc(grpc_address, photo) if grpc_address else None,
        "live, ready": [await second.is_server_live(url), await second.is_server_ready(url)],
        "defaults": await call(url, photo),
        "answer in binary": await call(url, photo, binary_data_output=True),
        "png": await call(url, photo, format="png"),
        "base64": await call(url, text, binary=False),
        "broken": await call(url, b"broken"),
        "v1": await first.infer(url, {"instances": [{"data": text}]}, model_name=MODEL),
        "v1 of TensorFlow": await first.infer(url, sample, model_name=MODEL),
    }


if __name__ == "__main__":
    json.dump(asyncio.run(main(Path(sys.argv[1]).read_bytes(), sys.argv[2:])), sys.stdout)

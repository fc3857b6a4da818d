"""Call live servers through tritonclient and print each answer as JSON. Run in an environment with tritonclient.

Usage: triton.py PHOTO HOST:PORT..., where PHOTO.npy holds the photo's pixels
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

MODEL = "deeplabv3"
OUTPUTS = ["answer", "label_map", "probabilities", "confidence"]


def tensor(*elements: bytes | str, name: str = "image", **options: Any) -> InferInput:
    """Return an input tensor; `options` are those of `set_data_from_numpy`, whose default is binary."""
    result = InferInput(name, [len(elements)], "BYTES")
    result.set_data_from_numpy(np.array(elements, dtype=object), **options)
    return result


def call(client: InferenceServerClient, *inputs: InferInput, **options: Any) -> Any:
    """Return each output's elements as base64 text by name, and the id, or the status and text of an error."""
    try:
        result = client.infer(MODEL, list(inputs), **options)
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    outputs = {output["name"]: result.as_numpy(output["name"]).flatten() for output in result.get_response()["outputs"]}
    return {
        "id": result.get_response().get("id"),
        **{name: [_text(element) for element in elements] for name, elements in outputs.items()},
    }


def _text(element: bytes | str) -> str:
    return base64.b64encode(element if isinstance(element, bytes) else element.encode()).decode()


def call_for_arrays(client: InferenceServerClient, pixels: np.ndarray[Any, Any], *, binary: bool) -> Any:
    """Return type, shape and bytes of each output for an image sent as pixels."""
    image = InferInput("image", list(pixels.shape), "UINT8")
    image.set_data_from_numpy(pixels, binary_data=binary)
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in OUTPUTS]
    result = client.infer(MODEL, [image], outputs=outputs, parameters={"masks": "none"})
    return {name: _serialize(result.as_numpy(name)) for name in OUTPUTS}


def _serialize(array: np.ndarray[Any, Any]) -> Any:
    return [str(array.dtype), list(array.shape), _text(array[0] if array.dtype == object else array.tobytes())]


def metadata(client: InferenceServerClient) -> Any:
    """Return whether the model is ready and the datatypes of its tensors by name, or the status of an error."""
    try:
        model_metadata = client.get_model_metadata(MODEL)
        outputs = {output["name"]: output["datatype"] for output in model_metadata["outputs"]}
        return [client.get_server_metadata()["name"], client.is_model_ready(MODEL, "1.0"), outputs]
    except InferenceServerException as error:
        return error.status()


def main(address: str, path: Path) -> dict[str, Any]:
    """Return the answer to each kind of call."""
    client, photo, pixels = InferenceServerClient(address), path.read_bytes(), np.load(path.with_suffix(".npy"))
    text = base64.b64encode(photo).decode()
    return {
        "live, ready": [client.is_server_live(), client.is_server_ready()],
        "metadata": metadata(client),
        "arrays": call_for_arrays(client, pixels, binary=True),
        "arrays in JSON": call_for_arrays(client, pixels, binary=False),
        "defaults": call(client, tensor(photo)),
        "several": call(client, tensor(photo, photo), tensor(photo, name="more"), parameters={"masks": "none"}),
        "png": call(client, tensor(photo), parameters={"format": "png"}),
        "answer in JSON": call(client, tensor(photo), outputs=[InferRequestedOutput("image", binary_data=False)]),
        "answer in binary": call(client, tensor(photo), outputs=[InferRequestedOutput("image", binary_data=True)]),
        "base64": call(client, tensor(text, binary_data=False)),
        "base64 in binary": call(client, tensor(text)),
        "classes": call(client, tensor(photo), outputs=[InferRequestedOutput("image", class_count=3)]),
        "sequence": call(client, tensor(photo), sequence_id=3, sequence_start=True, priority=2, timeout=9, request_id="call-7"),
        "gzip": call(client, tensor(photo), request_compression_algorithm="gzip", response_compression_algorithm="gzip"),
        "deflate": call(client, tensor(photo), request_compression_algorithm="deflate"),
        "asynchronous": _text(client.async_infer(MODEL, [tensor(photo)]).get_result().as_numpy("image")[0]),
        "broken": call(client, tensor(b"broken")),
    }


if __name__ == "__main__":
    json.dump([main(address, Path(sys.argv[1])) for address in sys.argv[2:]], sys.stdout)

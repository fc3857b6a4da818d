"""Call a live server through tritonclient's gRPC and print the answers as JSON. Run in an environment with tritonclient.

Usage: triton_grpc.py PHOTO HOST:PORT, where PHOTO.npy holds the photo's pixels
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, service_pb2
from tritonclient.utils import InferenceServerException

MODEL = "deeplabv3"
OUTPUTS = ["answer", "label_map", "probabilities", "confidence"]
#: The messages whose fields servers and clients must number alike.
MESSAGES = ["InferParameter", "InferTensorContents", "ModelInferRequest", "ModelInferResponse", "ModelMetadataResponse"]


def tensor(value: np.ndarray[Any, Any], datatype: str) -> InferInput:
    result = InferInput("image", list(value.shape), datatype)
    result.set_data_from_numpy(value)
    return result


def call(client: InferenceServerClient, image: InferInput, *names: str, **options: Any) -> Any:
    """Return type, shape and bytes of each output, or the status and text of an error."""
    outputs = [InferRequestedOutput(name) for name in names] or None
    try:
        result = client.infer(MODEL, [image], outputs=outputs, **options)
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    return {output.name: serialize(result.as_numpy(output.name)) for output in result.get_response().outputs}


def serialize(array: np.ndarray[Any, Any]) -> Any:
    content = array[0] if array.dtype == object else array.tobytes()
    return [str(array.dtype), list(array.shape), base64.b64encode(content).decode()]


def fields(message: Any) -> dict[str, Any]:
    """Return the field numbers of a message by name, including nested messages."""
    return {field.name: [field.number, field.type] for field in message.fields} | {
        nested.name: fields(nested) for nested in message.nested_types
    }


def main(address: str, photo: Path) -> dict[str, Any]:
    """Return the answer to each kind of call."""
    client = InferenceServerClient(address)
    file = tensor(np.array([photo.read_bytes()], dtype=object), "BYTES")
    pixels = tensor(np.load(photo.with_suffix(".npy")), "UINT8")
    metadata = client.get_model_metadata(MODEL, as_json=True)
    return {
        "live, ready": [client.is_server_live(), client.is_server_ready(), client.is_model_ready(MODEL, "1.0")],
        "server": client.get_server_metadata(as_json=True)["name"],
        "inputs": [[entry["name"], entry["datatype"], entry["shape"]] for entry in metadata["inputs"]],
        "outputs": [[entry["name"], entry["datatype"], entry["shape"]] for entry in metadata["outputs"]],
        "defaults": call(client, file),
        "pixels": call(client, pixels, client_timeout=60, compression_algorithm="gzip"),
        "arrays": call(client, pixels, *OUTPUTS, parameters={"format": "png"}, request_id="a", priority=1, model_version="1.0"),
        "broken": call(client, tensor(np.array([b"broken"], dtype=object), "BYTES")),
        "no output": call(client, file, "scores"),
        "fields": {name: fields(service_pb2.DESCRIPTOR.message_types_by_name[name]) for name in MESSAGES},
    }


if __name__ == "__main__":
    json.dump(main(sys.argv[2], Path(sys.argv[1])), sys.stdout)

"""Call exported models on a Triton Inference Server through tritonclient. Run in an environment with tritonclient.

Usage: triton_export.py HTTP_HOST:PORT GRPC_HOST:PORT FOLDER

For each FOLDER/MODEL.NAME.npy of pixels, the outputs over HTTP and gRPC are written to MODEL.NAME.npz. Then the images of
MODEL.batch.npy are sent one by one to Triton configured to wait until it can run them together; their labels are written
to MODEL.together.npy. Triton's description of each model is printed as JSON.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tritonclient import grpc, http

OUTPUTS = ["label_map", "logits"]
TIMEOUT_S = 300


def tensor(protocol: ModuleType, pixels: np.ndarray[Any, Any]) -> Any:
    image = protocol.InferInput("image", list(pixels.shape), "UINT8")
    image.set_data_from_numpy(pixels)
    return image


def call(protocol: ModuleType, client: Any, model: str, pixels: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return each output for a batch of images."""
    outputs = [protocol.InferRequestedOutput(name) for name in OUTPUTS]
    result = client.infer(model, [tensor(protocol, pixels)], outputs=outputs)
    return {name: result.as_numpy(name) for name in OUTPUTS}


def call_together(client: Any, model: str, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the labels of images sent one by one to a model that waits until it has a batch of them."""
    config = client.get_model_config(model)
    config["dynamic_batching"] = {"preferred_batch_size": [len(images)], "max_queue_delay_microseconds": TIMEOUT_S * 1_000_000}
    client.load_model(model, config=json.dumps(config))
    waiting = [client.async_infer(model, [tensor(http, image[None])]) for image in images]
    return np.concatenate([request.get_result().as_numpy("label_map") for request in waiting])


def describe(client: Any, model: str) -> dict[str, Any]:
    """Return the model's parameters, the datatypes and shapes of its tensors, and the sizes of its batches."""
    tensors = client.get_model_metadata(model)
    return {
        "parameters": {
            key: parameter["string_value"] for key, parameter in client.get_model_config(model)["parameters"].items()
        },
        "tensors": {entry["name"]: [entry["datatype"], entry["shape"]] for entry in tensors["inputs"] + tensors["outputs"]},
        "batches": [batch["batch_size"] for batch in client.get_inference_statistics(model)["model_stats"][0]["batch_stats"]],
    }


def main(addresses: Sequence[str], folder: Path) -> dict[str, Any]:
    """Call each model and return Triton's description of it."""
    by_http = http.InferenceServerClient(addresses[0], concurrency=16, connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S)
    by_grpc = grpc.InferenceServerClient(addresses[1])
    for path in sorted(folder.glob("*.npy")):
        model, pixels = path.name.split(".")[0], np.load(path)
        outputs: dict[str, Any] = call(http, by_http, model, pixels)
        outputs |= {f"{name}_grpc": array for name, array in call(grpc, by_grpc, model, pixels).items()}
        np.savez(path.with_suffix(".npz"), **outputs)
    descriptions = {}
    for path in sorted(folder.glob("*.batch.npy")):
        model = path.name.split(".")[0]
        np.save(folder / f"{model}.together", call_together(by_http, model, np.load(path)))
        descriptions[model] = describe(by_http, model)
    return descriptions


if __name__ == "__main__":
    json.dump(main(sys.argv[1:3], Path(sys.argv[3])), sys.stdout)

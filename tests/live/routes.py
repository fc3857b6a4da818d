"""The routes on which an image and its options reach the handler. Every route returns the bytes of the answer."""

import base64
import gzip
import json
import struct
from collections.abc import Callable, Mapping

import requests

from scripts.server import Server
from tests.live import grpc_client
from tests.live.client import TIMEOUT_S, post

Options = Mapping[str, str]
#: The header with the length of KServe v2's JSON, which binary tensors follow.
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"


def _by_header(server: Server, image: bytes, options: Options) -> bytes:
    return post(server, image, {f"X-Segment-{name.replace('_', '-')}": value for name, value in options.items()}).content


def _by_form(server: Server, image: bytes, options: Options) -> bytes:
    return requests.post(server.url, files={"data": image}, data=options, timeout=TIMEOUT_S).content


def _by_json(server: Server, image: bytes, options: Options) -> bytes:
    body = {"data": base64.b64encode(image).decode(), "options": options}
    return requests.post(server.url, json=body, timeout=TIMEOUT_S).content


def _by_json_fields(server: Server, image: bytes, options: Options) -> bytes:
    body = {"data": f"data:image/png;base64,{base64.b64encode(image).decode()}", **options}
    return requests.post(server.url, json=body, timeout=TIMEOUT_S).content


def _by_kserve_v1(server: Server, image: bytes, options: Options) -> bytes:
    body = {"instances": [{"data": base64.b64encode(image).decode(), "options": options}]}
    answer = requests.post(kserve_v1_url(server), json=body, timeout=TIMEOUT_S).content
    text = answer.removeprefix(b'{"predictions":[').removesuffix(b"]}")
    if text.startswith(b'{"b64":"'):
        return base64.b64decode(text.split(b'"')[3])
    return text


def _by_kserve_v2(server: Server, image: bytes, options: Options) -> bytes:
    tensor = {"name": "photo", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(image).decode()]}
    body = {"inputs": [{**tensor, "parameters": options}]}
    (output,) = requests.post(kserve_v2_url(server), json=body, timeout=TIMEOUT_S).json()["outputs"]
    (element,) = output["data"]
    is_json = output["parameters"]["content_type"].endswith("json")  # GeoJSON is text too.
    return element.encode() if is_json else base64.b64decode(element)


def _by_binary_tensor(server: Server, image: bytes, options: Options) -> bytes:
    """Send and receive KServe v2's binary tensors."""
    parameters = {"binary_data_size": len(image) + 4, **options}
    tensor = {"name": "photo", "shape": [1], "datatype": "BYTES", "parameters": parameters}
    document = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body = document + struct.pack("<I", len(image)) + image

    response = requests.post(kserve_v2_url(server), body, headers={JSON_LENGTH_HEADER: str(len(document))}, timeout=TIMEOUT_S)

    return response.content[int(response.headers[JSON_LENGTH_HEADER]) + 4 :] if response.ok else response.content


def _by_hugging_face(server: Server, image: bytes, options: Options) -> bytes:
    body = {"inputs": base64.b64encode(image).decode(), "parameters": options}
    return requests.post(server.url, json=body, timeout=TIMEOUT_S).content


def _by_compressed_json(server: Server, image: bytes, options: Options) -> bytes:
    body = gzip.compress(json.dumps({"data": base64.b64encode(image).decode(), "options": options}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    return requests.post(server.url, body, headers=headers, timeout=TIMEOUT_S).content


def _by_base64_form(server: Server, image: bytes, options: Options) -> bytes:
    return requests.post(server.url, {"photo": base64.b64encode(image), **options}, timeout=TIMEOUT_S).content


def _by_grpc(server: Server, image: bytes, options: Options) -> bytes:
    return grpc_client.predict(server, {"data": image, **{name: value.encode() for name, value in options.items()}})


#: By the part of the request that carries the options.
Route = Callable[[Server, bytes, Options], bytes]

ROUTES: dict[str, Route] = {
    "headers": _by_header,
    "form": _by_form,
    "JSON options": _by_json,
    "JSON fields": _by_json_fields,
    "KServe v1": _by_kserve_v1,
    "KServe v2": _by_kserve_v2,
    "KServe v2 in binary": _by_binary_tensor,
    "Hugging Face": _by_hugging_face,
    "compressed JSON": _by_compressed_json,
    "base64 in a form": _by_base64_form,
    "gRPC": _by_grpc,
}


def routes_of(server: Server) -> dict[str, Route]:
    """Return the routes that the server has."""
    return {name: route for name, route in ROUTES.items() if name != "gRPC" or server.software == "torchserve"}


def kserve_v1_url(server: Server, verb: str = "predict") -> str:
    return server.url.replace("/predictions/", "/v1/models/") + f":{verb}"


def kserve_v2_url(server: Server) -> str:
    return server.url.replace("/predictions/", "/v2/models/") + "/infer"


def explanations_url(server: Server) -> str:
    return server.url.replace("/predictions/", "/explanations/")

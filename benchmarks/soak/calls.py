"""Requests of every kind: formats, sizes, options, errors and protocols."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import grpc
import requests
from skimage import data

from benchmarks.serving.sized_photographs import camera_jpeg, encode_image
from handler.answers import FORMATS
from handler.geometry import Size
from handler.servers.asgi.open_inference.messages import message_class
from scripts.server import Server

#: Weights of photographs by height and width.
_SIZES: Mapping[Size, int] = {(60, 90): 8, (300, 451): 12, (491, 640): 12, (960, 1280): 4, (3000, 4000): 1}
#: Options; the last ones are expensive.
_OPTIONS: Sequence[Mapping[str, str]] = (
    *(
        {},
        {},
        {},
        {"masks": "polygons"},
        {"masks": "png"},
        {"components": "true"},
        {"classes": "cat,person", "min_score": "0.4"},
    ),
    *({"scales": "0.5"}, {"flip": "true"}, {"scales": "0.75,1.25", "flip": "true"}, {"tiles": "2"}),
)
_WRONG_OPTIONS: Sequence[Mapping[str, str]] = ({"format": "svg"}, {"colour": "red"}, {"scales": "9"}, {"min_score": "nan"})
#: Shares of requests with a broken image, with an invalid option and for an unknown model.
_BROKEN_SHARE, _WRONG_SHARE, _UNKNOWN_SHARE = 0.06, 0.05, 0.02
_TIMEOUT_S = 120
#: The method of the Open Inference Protocol by server software; the messages are the same.
_GRPC = {
    "torchserve": "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/ModelInfer",
    "asgi": "/inference.GRPCInferenceService/ModelInfer",
}


@dataclass(frozen=True)
class Call:
    """One request: the photograph, its options, the model and the function that sends it."""

    image: bytes
    options: Mapping[str, str]
    model: str
    send: Callable[["Caller", "Call"], int]


class Caller:
    """Sends calls to one server."""

    def __init__(self, server: Server) -> None:
        self.base = server.url.partition("/predictions/")[0]
        self._session = requests.Session()
        self._channel = grpc.insecure_channel(f"{server.host}:{server.ports.grpc_inference}", options=_NO_LIMIT)
        self._infer = self._channel.unary_unary(
            _GRPC[server.software],
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class("inference.ModelInferResponse").FromString,
        )

    def send(self, call: Call) -> int | None:
        """Send a call, and return its status (200, 400 or 500 for gRPC), or None without a complete answer."""
        with suppress(requests.RequestException):
            return call.send(self, call)
        return None

    def post(self, path: str, **content: object) -> int:
        """Send a request over HTTP, read the whole answer and return its status."""
        response = self._session.post(self.base + path, timeout=_TIMEOUT_S, **content)  # type: ignore[arg-type]
        return response.status_code

    def infer(self, request: object) -> int:
        """Send a call over gRPC, and return the equivalent HTTP status."""
        try:
            self._infer(request, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            # TorchServe answers INTERNAL for a model that does not exist.
            is_fault = error.code() in _FAULTS and "Model not found" not in (error.details() or "")
            return 500 if is_fault else 400
        return 200

    def close(self) -> None:
        """Close all connections."""
        self._session.close()
        self._channel.close()


_NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED)


class Mixture:
    """An endless mixture of calls, the same for the same seed."""

    def __init__(self, model: str, seed: int = 0) -> None:
        self._model = model
        self._chance = Random(seed)  # noqa: S311 (nothing here is secret)
        self._images = [image for size, share in _SIZES.items() for image in [camera_jpeg(size)] * share]
        self._images += [encode_image(data.chelsea(), "PNG"), _grey_tiff()]  # type: ignore[no-untyped-call]
        photograph = self._images[_SIZES[60, 90]]
        self._broken = [b"", b"no picture", photograph[: len(photograph) // 2], photograph[:2] + bytes(2000)]

    def next(self) -> Call:
        """Return the next call."""
        chance = self._chance
        share = chance.random()
        image = chance.choice(self._broken if share < _BROKEN_SHARE else self._images)
        options = {"format": chance.choice([*FORMATS]), **chance.choice(_OPTIONS)}
        if _BROKEN_SHARE <= share < _BROKEN_SHARE + _WRONG_SHARE:
            options |= chance.choice(_WRONG_OPTIONS)
        model = "nobody" if share > 1 - _UNKNOWN_SHARE else self._model
        return Call(image, options, model, chance.choice(_SENDERS))


def _grey_tiff() -> bytes:
    camera = data.camera()  # type: ignore[no-untyped-call]
    return encode_image(camera[::2, ::2].copy(), "TIFF", compression="tiff_lzw")


def _raw(caller: Caller, call: Call) -> int:
    headers = {f"X-Segment-{name.replace('_', '-')}": value for name, value in call.options.items()}
    return caller.post(f"/predictions/{call.model}", data=call.image, headers={"Content-Type": "image/jpeg", **headers})


def _form(caller: Caller, call: Call) -> int:
    return caller.post(f"/predictions/{call.model}", files={"data": call.image}, data=call.options)


def _json(caller: Caller, call: Call) -> int:
    return caller.post(f"/predictions/{call.model}", json={"data": _text(call.image), "options": call.options})


def _explain(caller: Caller, call: Call) -> int:
    return caller.post(f"/explanations/{call.model}", data=call.image, headers={"Content-Type": "image/jpeg"})


def _kserve_v1(caller: Caller, call: Call) -> int:
    instances = [{"data": _text(call.image), "options": call.options}] * 2
    return caller.post(f"/v1/models/{call.model}:predict", json={"instances": instances})


def _kserve_v2(caller: Caller, call: Call) -> int:
    tensor = {"name": "photo", "shape": [1], "datatype": "BYTES", "data": [_text(call.image)], "parameters": call.options}
    return caller.post(f"/v2/models/{call.model}/infer", json={"inputs": [tensor]})


def _kserve_v2_binary(caller: Caller, call: Call) -> int:
    parameters = {"binary_data_size": len(call.image) + 4, **call.options}
    tensor = {"name": "photo", "shape": [1], "datatype": "BYTES", "parameters": parameters}
    document = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body = document + len(call.image).to_bytes(4, "little") + call.image
    headers = {"Inference-Header-Content-Length": str(len(document)), "Content-Type": "application/octet-stream"}
    return caller.post(f"/v2/models/{call.model}/infer", data=body, headers=headers)


def _grpc(caller: Caller, call: Call) -> int:
    request = message_class("inference.ModelInferRequest")(model_name=call.model)
    tensor = request.inputs.add(name="photo", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(call.image)
    for name, value in call.options.items():
        request.parameters[name].string_param = value
    return caller.infer(request)


def _text(image: bytes) -> str:
    return base64.b64encode(image).decode()


_SENDERS = (_raw, _raw, _raw, _form, _form, _json, _explain, _kserve_v1, _kserve_v2, _kserve_v2_binary, _grpc)

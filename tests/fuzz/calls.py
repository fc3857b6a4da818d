"""Well-formed HTTP calls with contents from valid to nonsense."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from handler.answers import FORMATS
from handler.options import MASKS
from tests.fuzz.mutations import MUTATIONS
from tests.fuzz.seeds import seed_files

#: The share of images that are intact.
_INTACT_IMAGES = 0.75
#: The share of calls with valid options.
_VALID_OPTIONS = 0.7
_VALID_VALUES: dict[str, list[str]] = {
    "format": [*FORMATS],
    "masks": [*MASKS],
    "scales": ["1", "0.5", "0.25,0.5", "[1]"],
    "flip": ["false", "true"],
    "tiles": ["1", "1", "2"],
    "bands": ["first", "3,2,1", "1"],
    "range": ["type", "auto", "0,3000"],
    "classes": ["cat", "cat,dog", "0"],
    "min_score": ["0", "0.5"],
    "components": ["true", "false"],
    "alpha": ["0", "0.7"],
    "tolerance": ["0", "3"],
}
_INVALID_VALUES: dict[str, list[str]] = {
    "format": ["svg"],
    "masks": ["x"],
    "scales": ["9", "1,,", ""],
    "flip": ["x"],
    "tiles": ["0", "1e9"],
    "bands": ["0", "9", "1,2"],
    "range": ["5", "9,1", "0,1e99"],
    "classes": ["99", "1" * 5000, "'; drop", "\u00b2"],
    "min_score": ["nan", "-1"],
    "components": ["2"],
    "alpha": ["1e999"],
    "tolerance": ["x"],
    "refine": ["crv"],
    "colour": ["red"],
    "x" * 500: ["1"],
}

#: `Content-Encoding` headers with the function that encodes the body: supported, unsupported and mismatched.
_ENCODINGS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    *(("gzip", gzip.compress), ("deflate", zlib.compress)),
    *(("br", bytes), ("gzip", bytes)),
)


@dataclass(frozen=True)
class HttpCall:
    """The arguments of `requests.request`."""

    path: str
    headers: dict[str, str] = field(default_factory=dict)
    #: The keywords `data` and `files`.
    content: dict[str, Any] = field(default_factory=dict)


def http_call(rng: Random, model: str) -> HttpCall:
    """Return a random call to `model`."""
    return rng.choice(_KINDS)(rng, model)


def _raw(rng: Random, model: str) -> HttpCall:
    headers = {f"X-Segment-{name}": value.encode() for name, value in _options(rng).items()}
    return HttpCall(_path(rng, model), _headers(rng, headers), {"data": _file(rng)})


def _form(rng: Random, model: str) -> HttpCall:
    field_name = rng.choice(["data", "data", "image", "body", "file"])
    part = (
        rng.choice(["photo.jpg", "../../x", "é"]),
        _file(rng),
        rng.choice(["image/png", "image/png", "text/plain", "application/json"]),
    )
    return HttpCall(_path(rng, model), {}, {"files": {field_name: part}, "data": _options(rng)})


def _json(rng: Random, model: str) -> HttpCall:
    body = {rng.choice(["data", "image"]): _text(rng), "options": _options(rng)}
    return _json_call(_path(rng, model), body)


def _v1(rng: Random, model: str) -> HttpCall:
    instances = [rng.choice([_text, _b64, _object])(rng) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    method = "explain" if rng.random() < 0.1 else "predict"
    return _json_call(f"/v1/models/{model}:{method}", {"instances": instances, **_options(rng)})


def _v2(rng: Random, model: str) -> HttpCall:
    images = [_text(rng) for _ in range(rng.choice([0, 1, 1, 2]))]
    shape = rng.choice([*[[len(images)]] * 4, [len(images), 1], [9], "x"])
    name = rng.choice(["image", "image", "image", "\ud800", "é" * 5000, 5])
    tensor = {"name": name, "shape": shape, "datatype": rng.choice(["BYTES"] * 9 + ["FP32"]), "data": images}
    return _json_call(f"/v2/models/{model}/infer", {"id": "\udfff", "inputs": [tensor], "parameters": _options(rng)})


def _hugging_face(rng: Random, model: str) -> HttpCall:
    parameters = {"threshold": rng.choice([0, 0.5, 2]), **rng.choice([{}, {"subtask": "semantic"}, _options(rng)])}
    return _json_call(_path(rng, model), {"inputs": _text(rng), "parameters": parameters})


def _binary_tensor(rng: Random, model: str) -> HttpCall:
    files = [_file(rng) for _ in range(rng.choice([1, 1, 2]))]
    section = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    size = len(section) + rng.choice([0, 0, 0, 0, 1, -1])
    parameters = {"binary_data_size": size, **_options(rng)}
    tensor = {"name": "image", "shape": [len(files)], "datatype": "BYTES", "parameters": parameters}
    document = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": rng.choice([True, False])}}).encode()
    length = str(len(document) + rng.choice([0, 0, 0, 0, 7]))
    headers = {"Inference-Header-Content-Length": length, "Content-Type": "application/octet-stream"}
    return HttpCall(f"/v2/models/{model}/infer", headers, {"data": document + section})


def _compressed(rng: Random, model: str) -> HttpCall:
    call = rng.choice([_raw, _json, _v1, _v2])(rng, model)
    encoding, compress = rng.choice(_ENCODINGS)
    body = compress(call.content["data"])
    content = {"data": body[: rng.choice([len(body), len(body), len(body), len(body) // 2])]}
    return HttpCall(call.path, {**call.headers, "Content-Encoding": encoding}, content)


def _nonsense(rng: Random, model: str) -> HttpCall:
    bodies = [
        *(b"", b"{", b"[" * 50_000, b"null", b"[1,2]", b'{"data": "aGk="}', b'{"data": NaN}', b"\xff\xfe{\0}\0", b"hello"),
        json.dumps({"data": "a" * 300_000, "options": {"classes": "x" * 300_000}}).encode(),
        json.dumps({"x" * 300_000: 1, "data": "aGk="}).encode(),
        b'{"instances":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"data":"aGk=","classes":' + b"[" * 900 + b"]" * 900 + b"}",
        rng.randbytes(rng.randint(0, 3000)),
    ]
    types = [
        "application/json",
        "application/octet-stream",
        "text/plain",
        "image/jpeg",
        "a/b",
        "application/json; charset=utf-16",
    ]
    return HttpCall(_path(rng, model), {"Content-Type": rng.choice(types)}, {"data": rng.choice(bodies)})


_KINDS: tuple[Callable[[Random, str], HttpCall], ...] = (
    *(_raw, _raw, _form, _json, _hugging_face, _v1, _v2, _binary_tensor, _compressed, _nonsense),
)


def _path(rng: Random, model: str) -> str:
    suffixes = [*[""] * 20, "/1.0", "/1.0/png", "/1.0/x/y", "/1.0/%00", "/1.0/..%2f..%2fetc", f"/1.0/{'x' * 2000}"]
    prefix = "explanations" if rng.random() < 0.05 else "predictions"
    return f"/{prefix}/{model}{rng.choice(suffixes)}"


def _headers(rng: Random, headers: dict[str, Any]) -> dict[str, Any]:
    unusual_headers: list[dict[str, Any]] = [
        *({}, {}, {"Accept": "image/*;q=0.5, */*;q=nan"}, {"Accept": ";;,,"}, {"X-Segment-!": "1"}, {"Explain": "True"}),
        *(
            {"explain": "maybe"},
            {"describe": "True"},
            {"url_path": "png"},
            {"X-Segment-Format": b"\xe9\xff"},
            {"Accept": "x" * 4000},
        ),
    ]
    return {"Content-Type": "application/octet-stream", **headers, **rng.choice(unusual_headers)}


def _options(rng: Random) -> dict[str, str]:
    names = rng.sample(sorted(_VALID_VALUES), rng.choice([0, 1, 2, 3, 4]))
    options = {name: rng.choice(_VALID_VALUES[name]) for name in names}
    if rng.random() > _VALID_OPTIONS:
        name = rng.choice(sorted(_INVALID_VALUES))
        options[name] = rng.choice(_INVALID_VALUES[name])
    return options


def _file(rng: Random) -> bytes:
    files = sorted(seed_files())
    file = bytearray(seed_files()[rng.choice(files)])
    if rng.random() > _INTACT_IMAGES:
        for _ in range(rng.randint(1, 4)):
            offset, other_file = rng.randrange(min(len(file), rng.choice([64, 1 << 20]))), seed_files()[rng.choice(files)]
            file = rng.choice(MUTATIONS)(file, offset, rng.randrange(1 << 16), other_file) or bytearray(1)
    return bytes(file)


def _text(rng: Random) -> str:
    text = base64.b64encode(_file(rng)).decode()
    return rng.choice([text, text, text, text, text, f"data:image/png;base64,{text}", text[:-3], "\ud800"])


def _b64(rng: Random) -> dict[str, str]:
    return {"b64": _text(rng)}


def _object(rng: Random) -> dict[str, str]:
    return {"data": _text(rng), **_options(rng)}


def _json_call(path: str, body: Any) -> HttpCall:
    return HttpCall(path, {"Content-Type": "application/json"}, {"data": json.dumps(body).encode()})

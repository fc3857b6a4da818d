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
_VALUES: dict[str, list[str]] = {
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
_WRONG: dict[str, list[str]] = {
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

#: `Content-Encoding` headers with the function that encodes the body: supported, unsupported and false ones.
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


def http_call(chance: Random, model: str) -> HttpCall:
    """Return a random call to `model`."""
    return chance.choice(_KINDS)(chance, model)


def _raw(chance: Random, model: str) -> HttpCall:
    headers = {f"X-Segment-{name}": value.encode() for name, value in _options(chance).items()}
    return HttpCall(_path(chance, model), _headers(chance, headers), {"data": _file(chance)})


def _form(chance: Random, model: str) -> HttpCall:
    field_name = chance.choice(["data", "data", "image", "body", "file"])
    part = (
        chance.choice(["photo.jpg", "../../x", "é"]),
        _file(chance),
        chance.choice(["image/png", "image/png", "text/plain", "application/json"]),
    )
    return HttpCall(_path(chance, model), {}, {"files": {field_name: part}, "data": _options(chance)})


def _json(chance: Random, model: str) -> HttpCall:
    body = {chance.choice(["data", "image"]): _text(chance), "options": _options(chance)}
    return _json_call(_path(chance, model), body)


def _v1(chance: Random, model: str) -> HttpCall:
    instances = [chance.choice([_text, _b64, _object])(chance) for _ in range(chance.choice([0, 1, 1, 2, 3]))]
    method = "explain" if chance.random() < 0.1 else "predict"
    return _json_call(f"/v1/models/{model}:{method}", {"instances": instances, **_options(chance)})


def _v2(chance: Random, model: str) -> HttpCall:
    images = [_text(chance) for _ in range(chance.choice([0, 1, 1, 2]))]
    shape = chance.choice([*[[len(images)]] * 4, [len(images), 1], [9], "x"])
    name = chance.choice(["image", "image", "image", "\ud800", "é" * 5000, 5])
    tensor = {"name": name, "shape": shape, "datatype": chance.choice(["BYTES"] * 9 + ["FP32"]), "data": images}
    return _json_call(f"/v2/models/{model}/infer", {"id": "\udfff", "inputs": [tensor], "parameters": _options(chance)})


def _hugging_face(chance: Random, model: str) -> HttpCall:
    parameters = {"threshold": chance.choice([0, 0.5, 2]), **chance.choice([{}, {"subtask": "semantic"}, _options(chance)])}
    return _json_call(_path(chance, model), {"inputs": _text(chance), "parameters": parameters})


def _binary_tensor(chance: Random, model: str) -> HttpCall:
    files = [_file(chance) for _ in range(chance.choice([1, 1, 2]))]
    section = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    size = len(section) + chance.choice([0, 0, 0, 0, 1, -1])
    parameters = {"binary_data_size": size, **_options(chance)}
    tensor = {"name": "image", "shape": [len(files)], "datatype": "BYTES", "parameters": parameters}
    document = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": chance.choice([True, False])}}).encode()
    length = str(len(document) + chance.choice([0, 0, 0, 0, 7]))
    headers = {"Inference-Header-Content-Length": length, "Content-Type": "application/octet-stream"}
    return HttpCall(f"/v2/models/{model}/infer", headers, {"data": document + section})


def _compressed(chance: Random, model: str) -> HttpCall:
    call = chance.choice([_raw, _json, _v1, _v2])(chance, model)
    encoding, pack = chance.choice(_ENCODINGS)
    body = pack(call.content["data"])
    sent = {"data": body[: chance.choice([len(body), len(body), len(body), len(body) // 2])]}
    return HttpCall(call.path, {**call.headers, "Content-Encoding": encoding}, sent)


def _nonsense(chance: Random, model: str) -> HttpCall:
    bodies = [
        *(b"", b"{", b"[" * 50_000, b"null", b"[1,2]", b'{"data": "aGk="}', b'{"data": NaN}', b"\xff\xfe{\0}\0", b"hello"),
        json.dumps({"data": "a" * 300_000, "options": {"classes": "x" * 300_000}}).encode(),
        json.dumps({"x" * 300_000: 1, "data": "aGk="}).encode(),
        b'{"instances":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"data":"aGk=","classes":' + b"[" * 900 + b"]" * 900 + b"}",
        chance.randbytes(chance.randint(0, 3000)),
    ]
    types = [
        "application/json",
        "application/octet-stream",
        "text/plain",
        "image/jpeg",
        "a/b",
        "application/json; charset=utf-16",
    ]
    return HttpCall(_path(chance, model), {"Content-Type": chance.choice(types)}, {"data": chance.choice(bodies)})


_KINDS: tuple[Callable[[Random, str], HttpCall], ...] = (
    *(_raw, _raw, _form, _json, _hugging_face, _v1, _v2, _binary_tensor, _compressed, _nonsense),
)


def _path(chance: Random, model: str) -> str:
    ends = [*[""] * 20, "/1.0", "/1.0/png", "/1.0/x/y", "/1.0/%00", "/1.0/..%2f..%2fetc", f"/1.0/{'x' * 2000}"]
    prefix = "explanations" if chance.random() < 0.05 else "predictions"
    return f"/{prefix}/{model}{chance.choice(ends)}"


def _headers(chance: Random, sent: dict[str, Any]) -> dict[str, Any]:
    odd: list[dict[str, Any]] = [
        *({}, {}, {"Accept": "image/*;q=0.5, */*;q=nan"}, {"Accept": ";;,,"}, {"X-Segment-!": "1"}, {"Explain": "True"}),
        *(
            {"explain": "maybe"},
            {"describe": "True"},
            {"url_path": "png"},
            {"X-Segment-Format": b"\xe9\xff"},
            {"Accept": "x" * 4000},
        ),
    ]
    return {"Content-Type": "application/octet-stream", **sent, **chance.choice(odd)}


def _options(chance: Random) -> dict[str, str]:
    names = chance.sample(sorted(_VALUES), chance.choice([0, 1, 2, 3, 4]))
    options = {name: chance.choice(_VALUES[name]) for name in names}
    if chance.random() > _VALID_OPTIONS:
        name = chance.choice(sorted(_WRONG))
        options[name] = chance.choice(_WRONG[name])
    return options


def _file(chance: Random) -> bytes:
    files = sorted(seed_files())
    file = bytearray(seed_files()[chance.choice(files)])
    if chance.random() > _INTACT_IMAGES:
        for _ in range(chance.randint(1, 4)):
            at, other = chance.randrange(min(len(file), chance.choice([64, 1 << 20]))), seed_files()[chance.choice(files)]
            file = chance.choice(MUTATIONS)(file, at, chance.randrange(1 << 16), other) or bytearray(1)
    return bytes(file)


def _text(chance: Random) -> str:
    text = base64.b64encode(_file(chance)).decode()
    return chance.choice([text, text, text, text, text, f"data:image/png;base64,{text}", text[:-3], "\ud800"])


def _b64(chance: Random) -> dict[str, str]:
    return {"b64": _text(chance)}


def _object(chance: Random) -> dict[str, str]:
    return {"data": _text(chance), **_options(chance)}


def _json_call(path: str, body: Any) -> HttpCall:
    return HttpCall(path, {"Content-Type": "application/json"}, {"data": json.dumps(body).encode()})

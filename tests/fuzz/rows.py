"""Rows and headers in TorchServe's form, from nearly valid to nonsense."""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from handler.answers import FORMATS
from handler.options import MASKS, REFINEMENTS
from tests.fuzz.mutations import mutated_files
from tests.fuzz.seeds import seed_files

#: Include NUL and lone surrogates, which JSON can express.
_texts = st.text(st.characters(), max_size=30)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 2**63, float("nan"), float("inf"), -float("inf"), -0.0, 5e-324]),
    st.floats(),
    _texts,
)
#: Everything that JSON can express, nested as deeply as its parser allows, with long names and texts.
json_values: SearchStrategy[Any] = st.one_of(
    _scalars,
    st.recursive(
        _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4), max_leaves=8
    ),
    st.builds(
        lambda depth, value: _nested(depth, value), st.sampled_from([10, 300, 500, 900]), st.sampled_from([0, "x", None])
    ),
    st.builds(
        lambda piece, times: piece * times, st.sampled_from(["x", "é,", "[", "1,", "\ud800", "9"]), st.integers(0, 20_000)
    ),
    st.builds(lambda piece, times: [piece] * times, _scalars, st.integers(0, 2_000)),
)
_OPTIONS: dict[str, list[Any]] = {
    "format": [*FORMATS, "PNG", " json ", "svg"],
    "masks": [*MASKS, "rles"],
    "scales": ["1", "0.5,1", [0.25, 2], "[0.5, 0.75]", 1, "9", [], [[1]], ["1"], "1,,1", "0.25,0.3,0.4,0.5,0.6,0.7,0.8"],
    "flip": ["true", "False", True, 0, "yes"],
    "tiles": [1, "2", 4, 5, 2.0, 1.5, "2e0"],
    "refine": [*REFINEMENTS],
    "classes": ["cat", "cat,dog", [1], ["dog", 2], "0", "-1", "3", [True], "", "²", "1" * 5000, ["cat"] * 400, [None]],
    "min_score": [0, "0.5", 1, 2, "1e-400", "nan"],
    "components": ["true", False, None],
    "alpha": [0, 0.5, "1", "-0"],
    "tolerance": [0, "2.5", 10, 11],
}
_names = st.one_of(
    st.sampled_from(
        [*_OPTIONS, "Format", "MIN_SCORE", "options", "data", "image", "body", "instances", "inputs", "parameters"]
    ),
    _texts,
)


@st.composite
def option_fields(draw: DrawFn, valid: bool = False) -> dict[str, Any]:
    """Draw options by name. `valid`: all names exist and most values are valid."""
    names = draw(st.lists(st.sampled_from(sorted(_OPTIONS)), max_size=4, unique=True))
    fields = {name: draw(st.sampled_from(_OPTIONS[name])) for name in names}
    if not valid and draw(st.booleans()):
        fields |= draw(st.dictionaries(_names, json_values, max_size=2))
    return fields


@st.composite
def calls(draw: DrawFn, valid: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw a row and its headers. `valid`: the row holds an image and options in a documented form."""
    kind = draw(st.sampled_from([_uncompressed, _uncompressed, _uncompressed, _compressed, _binary_tensors]))
    row, content_headers = draw(kind(valid))
    return row, {**draw(headers(valid)), **content_headers}


@st.composite
def rows(draw: DrawFn, valid: bool = False) -> dict[str, Any]:
    """Draw a row. `valid`: it holds an image and options in a documented form."""
    kind = draw(st.sampled_from(_VALID_KINDS if valid else [*_VALID_KINDS, _anything, _broken_json]))
    return draw(kind(valid))


def headers(valid: bool = False) -> SearchStrategy[dict[str, Any]]:
    """Draw request headers, including those of a form's parts."""
    accepts = ["*/*", "image/png", "image/*;q=0.5, application/json;q=inf", ";;,,", "a/b;q=nan;q=,", "image/jpeg;q=1e999", "\0"]
    values = st.one_of(_texts, st.sampled_from([*FORMATS, "true", "1", "0.5", "cat", "\udc80"]))
    option_headers = [
        f"{prefix}{name}" for prefix in ("X-Segment-", "x-segment-", "X-SEGMENT-") for name in (*_OPTIONS, "Min-Score", "", "x")
    ]
    common = {
        "explain": st.sampled_from(["True", "False", "true", 1]),
        "Explain": st.sampled_from(["True", "nonsense"]),
        "describe": st.sampled_from(["True", "False"]),
        "Accept": st.sampled_from(accepts),
        "url_path": st.sampled_from(["", "/", *FORMATS, "png/", "../../etc", "\0"]),
        "data": st.just({"content-type": "image/jpeg"}),
    }
    if valid:
        return st.fixed_dictionaries({}, optional=common)
    unusual: dict[str, SearchStrategy[Any]] = {
        "aCCePt": _texts,
        "URL_PATH": _texts,
        "x-segment-format": st.none() | st.just({"content-type": "text/plain"}),
    }
    fixed: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({}, optional={**common, **unusual})
    return st.builds(
        lambda a, b: {**a, **b}, fixed, st.dictionaries(st.one_of(st.sampled_from(option_headers), _texts), values, max_size=2)
    )


def _files(valid: bool) -> SearchStrategy[bytes]:
    real = st.sampled_from(sorted(seed_files())).map(seed_files().__getitem__)
    return st.one_of(real, real, mutated_files()) if valid else st.one_of(real, mutated_files(), st.binary(max_size=40))


@st.composite
def _image_texts(draw: DrawFn, valid: bool) -> Any:
    """Draw an image in one of the forms that JSON can hold."""
    text = base64.b64encode(draw(_files(valid))).decode()
    forms: list[Any] = [text, f"data:image/png;base64,{text}", {"b64": text}]
    if not valid:
        forms += [text[:-1], f"data:,{text}", f"data:{text}", text + "\ud800", {"b64": text, "x": 1}, {"b64": [text]}, "", 5]
    return draw(st.sampled_from(forms))


@st.composite
def _raw(draw: DrawFn, valid: bool) -> dict[str, Any]:
    return {"body": draw(st.sampled_from([bytes, bytearray]))(draw(_files(valid)))}


@st.composite
def _form(draw: DrawFn, valid: bool) -> dict[str, Any]:
    fields = {name: _form_value(value) for name, value in draw(option_fields(valid)).items()}
    spelling = draw(st.sampled_from([bytes, bytes, base64.b64encode, base64.encodebytes, _without_pluses]))
    return {draw(st.sampled_from(["data", "image", "body", "file", "photo[]"])): spelling(draw(_files(valid))), **fields}


def _without_pluses(file: bytes) -> bytes:
    """Return base64 as it arrives from a urlencoded form that did not escape it."""
    return base64.b64encode(file).replace(b"+", b" ")


@st.composite
def _hugging_face(draw: DrawFn, valid: bool) -> dict[str, Any]:
    parameters = {**draw(option_fields(valid)), **draw(st.sampled_from([{}, {"subtask": "semantic", "mask_threshold": 0.5}]))}
    if "min_score" not in parameters:
        parameters["threshold"] = draw(st.sampled_from([None, 0, 0.5, 1] if valid else [0.5, 2, "x", [1], {"b64": ""}]))
    body: dict[str, Any] = {"inputs": base64.b64encode(draw(_files(valid))).decode(), "parameters": parameters}
    if not valid:
        body |= draw(st.dictionaries(st.sampled_from(["inputs", "parameters", "options", "data"]), json_values, max_size=1))
    return {"body": draw(_json_bodies(body))}


@st.composite
def _uncompressed(draw: DrawFn, valid: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    return draw(rows(valid)), {}


@st.composite
def _compressed(draw: DrawFn, valid: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compress a raw body to match its `Content-Encoding`, or almost."""
    names = draw(st.lists(st.sampled_from([*_ENCODERS]), min_size=1, max_size=3))
    row = draw(_raw(valid)) if valid else draw(rows())
    body = row.get("body")
    if isinstance(body, bytes | bytearray):
        for name in names:
            body = _ENCODERS[name](body)
        if not valid:
            body = draw(st.sampled_from([body, body[:-1], body + b"..", body * 3, body[:20] + body[21:]]))
        row = {**row, "body": body}
    if not valid:
        names += draw(st.sampled_from([[], [], ["br"], ["identity"], [""], ["gzip"] * 9, ["\0"]]))
    return row, {draw(st.sampled_from(["Content-Encoding", "content-encoding"])): ", ".join(names)}


_ENCODERS: dict[str, Callable[[bytes | bytearray], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


@st.composite
def _binary_tensors(draw: DrawFn, valid: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw a call of KServe v2 with binary tensors. Unless `valid`, sizes, the length of the JSON and the JSON may be wrong."""
    inputs, sections = [], b""
    for _ in range(draw(st.integers(1, 2))):
        tensor, section = draw(_binary_tensor(valid))
        inputs.append(tensor)
        sections += section
    document = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": draw(st.booleans())}}).encode()
    valid_length = str(len(document))
    invalid_lengths = ["0", "-1", str(len(document) - 1), "9" * 30, "x", "\0"]
    length = draw(st.sampled_from([valid_length] if valid else [*[valid_length] * 6, *invalid_lengths]))
    return {"body": bytearray(document + sections)}, {"Inference-Header-Content-Length": length}


@st.composite
def _binary_tensor(draw: DrawFn, valid: bool) -> tuple[dict[str, Any], bytes]:
    files = draw(st.lists(_files(valid), min_size=1, max_size=2))
    section = b"".join(struct.pack("<I", len(file)) + file for file in files)
    parameters = {"binary_data_size": len(section), **draw(option_fields(valid))}
    tensor: dict[str, Any] = {"name": draw(_texts), "shape": [len(files)], "datatype": "BYTES", "parameters": parameters}
    if not valid:
        parameters |= draw(st.dictionaries(st.just("binary_data_size"), json_values, max_size=1))
        tensor |= draw(st.dictionaries(st.sampled_from([*tensor, "data"]), json_values, max_size=1))
        section = draw(st.sampled_from([section, section, section[:-1], section + b"\0", b"\xff" * 9]))
    return tensor, section


@st.composite
def _json(draw: DrawFn, valid: bool) -> dict[str, Any]:
    body = {draw(st.sampled_from(["data", "image"])): draw(_image_texts(valid)), **draw(option_fields(valid))}
    if draw(st.booleans()):
        body["options"] = draw(option_fields(valid))
    return {"body": draw(_json_bodies(body))}


@st.composite
def _v1(draw: DrawFn, valid: bool) -> dict[str, Any]:
    objects = st.builds(lambda image, fields: {"data": image, **fields}, _image_texts(valid), option_fields(valid))
    instance = st.one_of(_image_texts(valid), objects) if valid else st.one_of(_image_texts(valid), objects, json_values)
    instances = draw(
        st.lists(instance, min_size=int(valid), max_size=3) if valid else st.lists(instance, max_size=18) | json_values
    )
    return {"body": draw(_json_bodies({"instances": instances, **draw(option_fields(valid))}))}


@st.composite
def _v2(draw: DrawFn, valid: bool) -> dict[str, Any]:
    inputs = []
    for _ in range(draw(st.integers(int(valid), 2))):
        images = draw(st.lists(_image_texts(valid), min_size=int(valid), max_size=2))
        tensor: dict[str, Any] = {"name": draw(_texts), "shape": [len(images)], "datatype": "BYTES", "data": images}
        tensor["parameters"] = draw(option_fields(valid))
        if not valid:
            tensor |= draw(st.dictionaries(st.sampled_from([*tensor]), json_values, max_size=2))
        inputs.append(tensor)
    body = {"id": draw(_texts if valid else json_values), "inputs": inputs, "parameters": draw(option_fields(valid))}
    if not valid:
        body |= draw(st.dictionaries(st.sampled_from([*body, "outputs"]), json_values, max_size=1))
    return {"body": draw(_json_bodies(body))}


@st.composite
def _anything(draw: DrawFn, valid: bool) -> dict[str, Any]:
    del valid
    values = st.one_of(json_values, st.binary(max_size=40), st.binary(max_size=40).map(bytearray))
    return draw(st.dictionaries(_names, values, max_size=4))


@st.composite
def _broken_json(draw: DrawFn, valid: bool) -> dict[str, Any]:
    del valid
    body = bytearray(json.dumps({"data": "aGk=", "options": draw(json_values)}).encode())
    for _ in range(draw(st.integers(0, 3))):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return {
        "body": draw(st.sampled_from([bytes(body), b"[" * 100_000, b'{"a":' * 100_000, b"{" + bytes(20), b'{"data": NaN}']))
    }


_VALID_KINDS = (_raw, _form, _json, _hugging_face, _v1, _v2)


def _json_bodies(body: dict[str, Any]) -> SearchStrategy[Any]:
    """Return the body in the forms that TorchServe passes on: decoded, or as bytes if the content type is not JSON."""
    text = json.dumps(body)
    return st.sampled_from([body, text.encode(), bytearray(text.encode("utf-8-sig"))])


def _form_value(value: Any) -> Any:
    """Encode `value` as a form field."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return value if isinstance(value, list | dict) else str(value).encode()


def _nested(depth: int, value: Any) -> Any:
    for level in range(depth):
        value = [value] if level % 3 else {"a": value}
    return value

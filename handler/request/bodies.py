"""Read an image and its options from a call's fields: a file's bytes, a form, JSON, text."""

import base64
import binascii
import codecs
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from handler.errors import InvalidOption, InvalidRequest
from handler.option_types import Text
from handler.options import ANSWER, AnswerOptions, InferenceOptions, PixelData
from handler.wording import json_name, listed, quoted

IMAGE_FIELDS = ("data", "image", "body")
_OPTIONS_FIELD = "options"
_OPTION_NAMES = {_OPTIONS_FIELD, *InferenceOptions.model_fields, *AnswerOptions.model_fields}
#: Base64 text that can hold at least the smallest image file, a GIF of 26 bytes. Netpbm's text files consist of the same
#: characters, but begin like "P3 ". Possessive quantifiers keep the time linear.
_BASE64_TEXT = re.compile(rb"(?!P\d\s)[A-Za-z0-9+/\s]{32,}+={0,2}+\s*+")
#: Option values are shorter, except lists of classes, whose option name is known.
_MAX_OPTION_BYTES = 100
_UTF16_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HOW_TO_SEND = (
    "send the file's bytes (curl -T photo.jpg URL), a form (curl -F data=@photo.jpg URL) "
    'or JSON ({"data": "<base64>", "options": {…}})'
)


@dataclass(frozen=True)
class Instance:
    """An image and the options sent with it, not yet checked."""

    #: A file's bytes, or raw pixels.
    image: bytes | PixelData
    #: `Text` or JSON values, by name.
    fields: Mapping[str, Any]
    #: Requested outputs: the answer in its format, and arrays by their names.
    outputs: tuple[str, ...] = (ANSWER,)


def json_body(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the JSON object in the field `body`, regardless of content type, or None if there is none."""
    body = fields.get("body")
    if isinstance(body, bytes | bytearray) and _looks_like_json(body):
        try:
            body = parse_json(body)
        except (ValueError, RecursionError):
            return None
    return body if isinstance(body, Mapping) else None


def read_fields(fields: Mapping[str, Any]) -> Instance:
    """Return the image in one of `IMAGE_FIELDS`, or else in the only field that holds a file, and the rest as options.

    Raises:
        InvalidRequest: an image is missing, empty or badly encoded, or there are several.
        InvalidOption: options are not an object, or not UTF-8 text.
    """
    image_fields = [name for name in IMAGE_FIELDS if name in fields] or _find_file_fields(fields)
    if not image_fields:
        field_list = f"; the fields sent are {listed(fields)}" if fields else ""
        raise InvalidRequest(f"no image in the request{field_list}; {_HOW_TO_SEND}")
    if len(image_fields) > 1:
        raise InvalidRequest(f"more than one image in the request, in the fields {listed(image_fields)}; send one")
    image = image_bytes(image_fields[0], fields[image_fields[0]])
    return Instance(image, read_options({name: value for name, value in fields.items() if name != image_fields[0]}))


def read_options(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in `fields`, including those in the field `options`, which the other fields override.

    Raises:
        InvalidOption: a field is not UTF-8 text, or `options` is not an object.
    """
    values = {name: _decode_text(name, value) for name, value in fields.items()}
    return {**_parse_options(values.pop(_OPTIONS_FIELD, None)), **values}


def image_bytes(name: str, value: Any) -> bytes:
    """Return the file in the field `name`, decoded from base64 or a `data:` URI if necessary.

    Raises:
        InvalidRequest: the value is empty, of another type, or not base64.
    """
    if isinstance(value, Mapping) and set(value) == {"b64"}:  # How clients of TensorFlow Serving and KServe v1 send bytes.
        value = value["b64"]
    if not isinstance(value, bytes | bytearray | str):
        raise InvalidRequest(
            f"the image in {quoted(name)} is sent as {json_name(value)}, it should be base64 text; {_HOW_TO_SEND}"
        )
    if not value:
        raise InvalidRequest(f"no image in the request: {quoted(name)} is empty; {_HOW_TO_SEND}")
    if isinstance(value, str):
        return _decode_base64(name, value)
    if _is_base64_text(value):
        return _decode_form_base64(name, value.decode("latin-1"))
    if _looks_like_json(value) or value.startswith(_UTF16_BYTE_ORDER_MARKS):
        raise InvalidRequest(f"{quoted(name)} {_json_fault(value)}; {_HOW_TO_SEND}")
    return bytes(value)


def _find_file_fields(fields: Mapping[str, Any]) -> list[str]:
    """Return the fields that hold a file under another name, such as `file=@photo.jpg` in a form."""
    return [name for name, value in fields.items() if name.lower() not in _OPTION_NAMES and _may_be_file(value)]


def _may_be_file(value: Any) -> bool:
    """Whether `value` is a file, in any form that `image_bytes` accepts, rather than the value of a misspelt option."""
    if isinstance(value, Mapping):
        return set(value) == {"b64"}
    if isinstance(value, str):
        return value.isascii() and _is_base64_text(value.encode())
    if not isinstance(value, bytes | bytearray):
        return False
    return len(value) > _MAX_OPTION_BYTES or not _is_text(value) or _is_base64_text(value)


def _is_text(value: bytes | bytearray) -> bool:
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _is_base64_text(value: bytes | bytearray) -> bool:
    """Whether `value` is base64 or a `data:` URI. No image file consists only of such characters."""
    return value[:5].lower() == b"data:" or _BASE64_TEXT.fullmatch(value) is not None


def _decode_form_base64(name: str, text: str) -> bytes:
    """Decode base64 from a form; in an urlencoded form, an unescaped "+" has become a space."""
    with suppress(InvalidRequest):
        return _decode_base64(name, text.replace(" ", "+"))
    return _decode_base64(name, text)


def _decode_base64(name: str, text: str) -> bytes:
    if text[:5].lower() == "data:":
        header, comma, text = text.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise InvalidRequest(f"the data: URI in {quoted(name)} should be base64; it begins {header[:40]!r}")
    try:
        return base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidRequest(f"the image in {quoted(name)} is not base64 ({error}); it begins {text[:40]!r}") from error


def parse_json(body: bytes | bytearray) -> Any:
    """Parse JSON in UTF-8 (RFC 8259), with or without a byte order mark; `json.loads` would guess the encoding of bytes."""
    return json.loads(body.decode("utf-8-sig"))


def _looks_like_json(body: bytes | bytearray) -> bool:
    """Whether `body` begins like a JSON object or list, as no image file does."""
    return body[:64].removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")[:1] in (b"{", b"[")


def _json_fault(body: bytes | bytearray) -> str:
    if body.startswith(_UTF16_BYTE_ORDER_MARKS):
        return "is UTF-16 text, JSON should be UTF-8"
    try:
        return f"holds {json_name(parse_json(body))} in JSON, it should hold an image"
    except (ValueError, RecursionError) as error:
        hint = "; binary tensors need the header Inference-Header-Content-Length" if b'"binary_data_size"' in body else ""
        return f"looks like JSON but does not parse: {error}{hint}"


def _parse_options(value: Any) -> Mapping[str, Any]:
    """Return the options in the field `options`, which is an object or its JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except (ValueError, RecursionError) as error:
            raise InvalidOption(f"the field 'options' is not JSON: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidOption(f"the field 'options' is {json_name(value)}, it should be an object of options by name")
    return value


def _decode_text(name: str, value: Any) -> Any:
    """Return bytes as `Text`, but JSON values unchanged."""
    try:
        return Text(bytes(value).decode()) if isinstance(value, bytes | bytearray) else value
    except UnicodeDecodeError as error:
        raise InvalidOption(f"option {quoted(name)}: its value is not UTF-8 text") from error

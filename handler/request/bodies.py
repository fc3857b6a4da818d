"""Read an image and its options from the fields of a call: a file's bytes, a form, JSON, text."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.errors import InvalidOption, InvalidRequest
from handler.wording import json_name, listed, quoted

IMAGE_FIELDS = ("data", "image", "body")
_OPTIONS_FIELD = "options"
_HOW_TO_SEND = (
    "send the file's bytes (curl -T photo.jpg URL), a form (curl -F data=@photo.jpg URL) "
    'or JSON ({"data": "<base64>", "options": {…}})'
)


@dataclass(frozen=True)
class Instance:
    """An image file and the options that came beside it, unchecked."""

    image: bytes
    #: Text, or what JSON holds, by name.
    fields: Mapping[str, Any]


def json_body(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the JSON object in the field `body`, whatever content type it was sent as; None: there is no such object."""
    body = fields.get("body")
    if isinstance(body, bytes | bytearray) and _begins_like_json(body):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return None
    return body if isinstance(body, Mapping) else None


def read_fields(fields: Mapping[str, Any]) -> Instance:
    """The image in one of `IMAGE_FIELDS`, and every other field as an option.

    Raises:
        InvalidRequest: no image, more than one, or one that is not sent as it should be.
        InvalidOption: options that are no options at all.
    """
    present = [name for name in IMAGE_FIELDS if name in fields]
    if not present:
        sent = f"; the fields sent are {listed(fields)}" if fields else ""
        raise InvalidRequest(f"no image in the request{sent}; {_HOW_TO_SEND}")
    if len(present) > 1:
        raise InvalidRequest(f"more than one image in the request, in the fields {listed(present)}; send one")
    image = image_bytes(present[0], fields[present[0]])
    return Instance(image, read_options({name: value for name, value in fields.items() if name not in IMAGE_FIELDS}))


def read_options(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that are options; the field `options` holds more of them, which the others go before.

    Raises:
        InvalidOption: a field is not text, or `options` is not an object.
    """
    given = {name: _text(name, value) for name, value in fields.items()}
    return {**_options(given.pop(_OPTIONS_FIELD, None)), **given}


def image_bytes(name: str, value: Any) -> bytes:
    """The file in a field called `name`: bytes as they are, text as base64 or a `data:` URI.

    Raises:
        InvalidRequest: it is empty, neither, or not base64.
    """
    if isinstance(value, Mapping) and set(value) == {"b64"}:  # As TensorFlow Serving's and KServe's v1 clients write bytes.
        value = value["b64"]
    if not isinstance(value, bytes | bytearray | str):
        sent = f"is sent as {json_name(value)}, it should be base64 text"
        raise InvalidRequest(f"the image in {quoted(name)} {sent}; {_HOW_TO_SEND}")
    if not value:
        raise InvalidRequest(f"no image in the request: {quoted(name)} is empty; {_HOW_TO_SEND}")
    if isinstance(value, str):
        return _from_base64(name, value)
    if value[:5].lower() == b"data:":  # No image file begins so.
        return _from_base64(name, value.decode("latin-1"))
    if _begins_like_json(value):
        raise InvalidRequest(f"{quoted(name)} {_json_fault(value)}; {_HOW_TO_SEND}")
    return bytes(value)


def _from_base64(name: str, text: str) -> bytes:
    if text[:5].lower() == "data:":
        header, comma, text = text.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise InvalidRequest(f"the data: URI in {quoted(name)} is not one of base64: it begins {header[:40]!r}")
    try:
        return base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidRequest(f"the image in {quoted(name)} is not base64 ({error}); it begins {text[:40]!r}") from error


def _begins_like_json(body: bytes | bytearray) -> bool:
    """As no image file does; what stands before are blanks, byte order marks, and the zeros of UTF-16."""
    return body[:64].lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:1] in (b"{", b"[")


def _json_fault(body: bytes | bytearray) -> str:
    """Why JSON is no image where it stands."""
    try:
        return f"holds {json_name(json.loads(body))} in JSON, it should hold an image"
    except (ValueError, RecursionError) as error:
        return f"begins like JSON but is none: {error}"


def _options(given: Any) -> Mapping[str, Any]:
    """The options in the field `options`: an object, or JSON text of one."""
    if isinstance(given, str):
        try:
            given = json.loads(given or "{}")
        except (ValueError, RecursionError) as error:
            raise InvalidOption(f"the field 'options' is not JSON: {error}") from error
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidOption(f"the field 'options' is {json_name(given)}, it should be an object of options by name")
    return given


def _text(name: str, value: Any) -> Any:
    """Bytes as the text they are; what JSON holds, as it is."""
    try:
        return bytes(value).decode() if isinstance(value, bytes | bytearray) else value
    except UnicodeDecodeError as error:
        raise InvalidOption(f"option {quoted(name)}: its value is not UTF-8 text") from error

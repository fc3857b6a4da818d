"""Turn an HTTP request into a `Call`, with the fields that TorchServe would pass to the handler.

It improves on two cases that TorchServe's front end answers with 500: a body that `curl` labels a form although it is a file or
JSON is read as what it is, and a broken form gets 400.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from handler.application import Call
from handler.errors import InvalidOption, InvalidRequest
from handler.request.content_encoding import decode_content
from handler.servers.asgi.messages import HttpRequest
from handler.wording import quoted

_JSON, _URLENCODED, _MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
_ENCODING = "content-encoding"
_MAX_FIELDS = 1_000
_PRINTABLE = re.compile(rb"[\x20-\x7e\r\n\t]*+")


def read_call(request: HttpRequest, max_bytes: int) -> Call:
    """Return the call that `request` makes.

    Args:
        request: the request as received.
        max_bytes: the largest size of a compressed form once inflated.

    Raises:
        InvalidRequest: the body does not match its content type or its content encoding.
        InvalidOption: the query string is not UTF-8, or gives an option twice.
        ImageTooLarge: a compressed form inflates to more than `max_bytes`.
        UnsupportedEncoding: a form has an encoding other than gzip and deflate.
    """
    if request.action != "describe":
        request = _with_inflated_form(request, max_bytes)
    content_type = request.headers.get("content-type", "")
    fields = {} if request.action == "describe" else read_body(request.body, content_type)
    return Call(fields, request.headers, request.action, request.format, read_query(request.query), request.id)


def _with_inflated_form(request: HttpRequest, max_bytes: int) -> HttpRequest:
    """Inflate a compressed form, so that its fields can be read. Other bodies are inflated later, as for every server."""
    headers = dict(request.headers)
    if _ENCODING not in headers or media_type(headers.get("content-type", "")) not in (_MULTIPART, _URLENCODED):
        return request
    body: bytes = decode_content({"body": request.body}, headers, max_bytes)["body"]
    del headers[_ENCODING]
    return replace(request, headers=headers, body=body)


def read_query(query: str) -> Mapping[str, str]:
    """Return the options in a query string.

    Raises:
        InvalidOption: the query string is not UTF-8, or gives an option twice.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise InvalidOption(f"the query string {quoted(query)} cannot be read: {error}") from error
    options: dict[str, str] = {}
    for name, value in pairs:
        if name in options:
            raise InvalidOption(f"option {quoted(name)}: given more than once in the query string")
        options[name] = value
    return options


def read_body(body: bytes | bytearray, content_type: str) -> dict[str, Any]:
    """Return a form's fields, or the whole body as the field `body`: JSON decoded, text as a string.

    Raises:
        InvalidRequest: the body is not the kind of form that its content type declares.
    """
    kind = media_type(content_type)
    if kind == _MULTIPART:
        return _read_multipart(bytes(body), content_type)
    if kind == _URLENCODED and _is_form(body):
        return _read_urlencoded(body)
    return {"body": _decode(bytes(body), kind)}


def media_type(content_type: str) -> str:
    """Return a content type in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def _decode(value: bytes, kind: str) -> Any:
    """Decode JSON and text; undecodable values stay bytes, for which the parser has its own error messages."""
    with suppress(ValueError, RecursionError):
        if kind == _JSON:
            return json.loads(value.decode())
        if kind.startswith("text"):
            return value.decode()
    return value


def _is_form(body: bytes | bytearray) -> bool:
    """Return whether a body is a real form, not a file, JSON or base64, which `curl --data-binary` labels a form too."""
    text = body.strip()
    return _PRINTABLE.fullmatch(text) is not None and text[:1] not in (b"{", b"[") and b"=" in text.rstrip(b"=")


def _read_urlencoded(body: bytes | bytearray) -> dict[str, Any]:
    try:
        # Latin-1 decodes every byte, so values may hold any bytes.
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, encoding="latin-1", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise InvalidRequest(f"the urlencoded form has more than {_MAX_FIELDS:,} fields") from error
    fields = {name.encode("latin-1").decode(errors="replace"): value.encode("latin-1") for name, value in pairs}
    if "" in fields:
        raise InvalidRequest("the urlencoded form has a field without a name")
    return fields


def _read_multipart(body: bytes, content_type: str) -> dict[str, Any]:
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise InvalidRequest("the content type multipart/form-data names no boundary; let the client library write it")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidRequest(f"the multipart form cannot be read: {error}") from error
    if not form.is_complete:
        raise InvalidRequest("the multipart form is truncated: its last boundary is missing")
    return form.fields


class _Form:
    """Collects the parts of a multipart form. Of two parts with the same name the last wins, as in TorchServe."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.is_complete = False
        self._parts = 0
        self._clear()

    def callbacks(self) -> Mapping[str, Any]:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in names}

    def _clear(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._content = bytearray()

    def _part_begin(self) -> None:
        self._clear()
        self._parts += 1
        if self._parts > _MAX_FIELDS:
            raise InvalidRequest(f"the multipart form has more than {_MAX_FIELDS:,} parts")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _part_end(self) -> None:
        _, disposition = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = disposition.get(b"name")
        if not name:
            raise InvalidRequest('a part of the multipart form has no name; send it as name="data", for example')
        # Only files have their own content type; other fields stay bytes until an option reads them.
        kind = media_type(self._headers.get(b"content-type", b"").decode("latin-1")) if b"filename" in disposition else ""
        self.fields[name.decode(errors="replace")] = _decode(bytes(self._content), kind)

    def _end(self) -> None:
        self.is_complete = True

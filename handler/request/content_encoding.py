"""Decode a body's `Content-Encoding` (RFC 9110, section 8.4), up to a size limit."""

import zlib
from collections.abc import Mapping
from typing import Any

from handler.errors import ImageTooLarge, InvalidRequest, UnsupportedEncoding
from handler.request.headers import header_value
from handler.wording import listed, quoted

#: zlib's argument `wbits`: its own wrapper (RFC 1950), gzip's (RFC 1952), none (RFC 1951).
_ZLIB, _GZIP, _RAW_DEFLATE = 15, 31, -15
#: Each layer of compression may have to inflate as much as a whole body.
_MAX_CODINGS = 3
#: Members of one gzip file; `cat a.gz b.gz` and parallel compressors write several.
_MAX_MEMBERS = 1_000
#: Compressed bytes passed to zlib at once, limited because it copies the unread rest at the end of each member.
_CHUNK_BYTES = 1 << 16


def decode_content(fields: Mapping[str, Any], headers: Mapping[str, str], limit: int) -> Mapping[str, Any]:
    """Return a call's fields with an inflated `body`.

    Args:
        fields: form fields, or a raw body as the field `body`.
        headers: the client's headers, with names in any case.
        limit: the most bytes that an inflated body may have.

    Raises:
        InvalidRequest: the body does not match its `Content-Encoding`, or is a form.
        ImageTooLarge: the body inflates to more bytes than the limit.
        UnsupportedEncoding: the encoding is neither gzip nor deflate.
    """
    codings = _parse_codings(header_value(headers, "Content-Encoding") or "")
    if not codings:
        return fields
    body = fields.get("body")
    if "body" not in fields:
        raise InvalidRequest(
            f"the body is compressed ({listed(codings)}) and holds neither a file nor JSON; send forms without Content-Encoding"
        )
    if isinstance(body, str):  # The content type was text/*.
        body = body.encode()
    for coding in reversed(codings):
        body = _inflate(body, coding, limit)
    return {**fields, "body": body}


def _parse_codings(header: str) -> list[str]:
    """Return the encodings in the order they were applied, without `identity`."""
    names = [name.strip().lower() for name in header.split(",")]
    codings = ["gzip" if name == "x-gzip" else name for name in names if name not in ("", "identity")]
    for name in codings:
        if name not in ("gzip", "deflate"):
            raise UnsupportedEncoding(f"Content-Encoding {quoted(name)} is not supported, send 'gzip', 'deflate' or none")
    if len(codings) > _MAX_CODINGS:
        raise UnsupportedEncoding(f"Content-Encoding names {len(codings)} encodings, the limit is {_MAX_CODINGS}")
    return codings


def _inflate(body: Any, coding: str, limit: int) -> bytes:
    if not isinstance(body, bytes | bytearray):  # A server parsed it as JSON.
        raise InvalidRequest(f"Content-Encoding is {coding!r}, but the body is not compressed")
    if not body:
        return b""
    try:
        return _inflate_members(body, _GZIP if coding == "gzip" else _deflate_wrapper(body), limit)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not {coding!r}, as Content-Encoding says: {error}") from error


def _deflate_wrapper(body: bytes | bytearray) -> int:
    """Return `wbits` for zlib's wrapper, which `deflate` means, or for the bare stream that some clients send instead."""
    header = int.from_bytes(body[:2])
    return _ZLIB if body[0] & 0x0F == zlib.DEFLATED and header % 31 == 0 else _RAW_DEFLATE


def _inflate_members(body: bytes | bytearray, wrapper: int, limit: int) -> bytes:
    inflated, position = bytearray(), 0
    for _ in range(_MAX_MEMBERS if wrapper == _GZIP else 1):
        inflater = zlib.decompressobj(wrapper)
        while not inflater.eof:
            chunk = body[position : position + _CHUNK_BYTES]
            if not chunk:
                raise InvalidRequest("the compressed body is truncated")
            inflated += inflater.decompress(chunk, limit + 1 - len(inflated))
            if len(inflated) > limit:
                raise ImageTooLarge(f"the body inflates to more than {limit:,} bytes, the limit")
            position += len(chunk) - len(inflater.unused_data)
        if position == len(body):
            return bytes(inflated)
    raise InvalidRequest(f"the compressed body has {len(body) - position:,} bytes after its end")

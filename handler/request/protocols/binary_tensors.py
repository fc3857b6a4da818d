"""KServe v2's binary tensors: the JSON is followed by the tensors' sections, in order, each of the size stated in its tensor.

An element of `BYTES` is its length as four little-endian bytes, then its bytes. A header states the length of the JSON.
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol/binary-tensor-data-extension
"""

import struct
from collections.abc import Sequence
from typing import Any

from handler.errors import InvalidRequest
from handler.request.bodies import parse_json
from handler.wording import quoted

#: The content type of a body with sections.
BINARY_TYPE = "application/octet-stream"
#: The header with the length of the JSON, in requests and replies.
LENGTH_HEADER = "Inference-Header-Content-Length"
_LENGTH_PREFIX = struct.Struct("<I")


def split_body(body: bytes | bytearray, length: str) -> tuple[Any, bytes]:
    """Return a body's parsed JSON and the sections after it; `length` is the value of `Inference-Header-Content-Length`.

    Raises:
        InvalidRequest: the header is not a length within the body, or not the length of the JSON.
    """
    if not (length.isascii() and length.isdigit() and len(length) < 12 and int(length) <= len(body)):
        raise InvalidRequest(
            f"the header {LENGTH_HEADER} is {quoted(length)}; it should be the length of the JSON part"
            f" of the body, which has {len(body):,} bytes in all"
        )
    try:
        return parse_json(body[: int(length)]), bytes(body[int(length) :])
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"the first {int(length):,} bytes of the body, by the header {LENGTH_HEADER}, are not JSON: {error}"
        ) from error


class Sections:
    """Returns a body's sections one after another."""

    def __init__(self, sections: bytes) -> None:
        self._sections = memoryview(sections)
        self._offset = 0

    def take(self, size: Any, location: str) -> memoryview:
        """Return the next `size` bytes, for the tensor that `location` names.

        Raises:
            InvalidRequest: `size` is not a number of bytes, or is more than the bytes left.
        """
        remaining = len(self._sections) - self._offset
        if type(size) is not int or not 0 <= size <= remaining:
            raise InvalidRequest(
                f"{location}: 'binary_data_size' is {quoted(size)}; "
                f"it should be a number of bytes, at most the {remaining:,} left"
            )
        self._offset += size
        return self._sections[self._offset - size : self._offset]

    def require_end(self) -> None:
        """Check that no bytes are left.

        Raises:
            InvalidRequest: there are bytes that do not belong to any tensor.
        """
        if remaining := len(self._sections) - self._offset:
            raise InvalidRequest(f"the body ends with {remaining:,} bytes that no 'binary_data_size' of an input counts")


def read_elements(section: memoryview, count: int, location: str) -> list[bytes]:
    """Return the `count` elements of a `BYTES` tensor.

    Raises:
        InvalidRequest: the section does not consist of exactly `count` elements.
    """
    elements: list[bytes] = []
    offset = 0
    while len(elements) < count and offset + _LENGTH_PREFIX.size <= len(section):
        (length,) = _LENGTH_PREFIX.unpack_from(section, offset)
        offset += _LENGTH_PREFIX.size + length
        if offset > len(section):
            raise InvalidRequest(
                f"{location}: element {len(elements)} should have {length:,} bytes, by the four before it, which is more than"
                f" 'binary_data_size' leaves"
            )
        elements.append(bytes(section[offset - length : offset]))
    if len(elements) < count or offset < len(section):
        raise InvalidRequest(
            f"{location}: the {len(section):,} bytes of 'binary_data_size' should be {count} elements, by 'shape'; "
            + (f"{len(section) - offset:,} bytes follow them" if len(elements) == count else f"they are {len(elements)}")
        )
    return elements


def write_elements(elements: Sequence[bytes]) -> bytes:
    """Return the section of a `BYTES` tensor."""
    return b"".join(_LENGTH_PREFIX.pack(len(element)) + element for element in elements)

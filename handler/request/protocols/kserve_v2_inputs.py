"""The input tensors of a KServe v2 call: files as `BYTES`, or pixels as `UINT8`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from handler.errors import InvalidRequest
from handler.image.pixel_data import CHANNELS, check_pixel_data
from handler.limits import Limits
from handler.options import PixelData
from handler.request.bodies import image_bytes
from handler.request.protocols.binary_tensors import Sections, read_elements
from handler.request.protocols.envelope import check_count
from handler.request.protocols.kserve_v2_fields import quoted_shape, read_parameters, require_known_keys
from handler.wording import json_name, quoted

_TENSOR_KEYS = ("name", "shape", "datatype", "data", "parameters")


@dataclass(frozen=True)
class InputTensor:
    """One input with its images."""

    name: str
    #: The shape of the output with its answers.
    answer_shape: list[int]
    #: Images: base64 text, an object that contains it, bytes, or raw pixels.
    elements: Sequence[Any]
    #: The object with the tensor's `parameters`.
    fields: Mapping[str, Any]

    def image(self, element: Any) -> bytes | PixelData:
        """Return an element as a file's bytes or as raw pixels.

        Raises:
            InvalidRequest: the element is empty, of another type, or not base64.
        """
        return element if isinstance(element, PixelData) else image_bytes(self.name, element)


def read_tensor(tensor: Any, position: int, sections: Sections | None, limits: Limits) -> InputTensor:
    """Return an input tensor with its images.

    Raises:
        InvalidRequest: the tensor is malformed.
        InstancesTooMany: the tensor holds more images than the limit.
        ImageTooLarge: the tensor holds more pixels than the limits allow.
    """
    location = f"input {position}"
    if not isinstance(tensor, Mapping) or not isinstance(tensor.get("name"), str):
        raise InvalidRequest(f"{location} should be an object with 'name', 'shape', 'datatype' and 'data'")
    location = f"input {quoted(tensor['name'])}"
    require_known_keys(tensor, _TENSOR_KEYS, location)
    section = _Section(tensor, sections, location)
    match tensor.get("datatype"):
        case "BYTES":
            files = _read_json_files(tensor, location) if section.size is None else section.read_files(limits)
            return InputTensor(tensor["name"], tensor["shape"], files, tensor)
        case "UINT8":
            pixels = _read_pixels(tensor, section, limits, location)
            return InputTensor(tensor["name"], [1], [pixels], tensor)
        case datatype:
            raise InvalidRequest(
                f"{location}: datatype {quoted(datatype)} is not supported, send files as 'BYTES' or pixels as 'UINT8'"
            )


class _Section:
    """A tensor's data after the JSON, if it has any there."""

    def __init__(self, tensor: Mapping[str, Any], sections: Sections | None, location: str) -> None:
        """Locate the data; raise InvalidRequest if the tensor has data in both places."""
        size = read_parameters(tensor, location).get("binary_data_size")
        #: The size as the client sent it, or None if the data is in the JSON.
        self.size = None if sections is None else size
        self._tensor, self._sections, self._location = tensor, sections, location
        if self.size is not None and "data" in tensor:
            raise InvalidRequest(f"{location} has both 'data' and 'binary_data_size', it should have one of them")

    def take(self) -> memoryview:
        assert self._sections is not None  # noqa: S101 (for the type checker)
        return self._sections.take(self.size, self._location)

    def read_files(self, limits: Limits) -> list[bytes]:
        count = _read_count(self._tensor.get("shape"), self._location)
        check_count(count, limits.max_instances)
        return read_elements(self.take(), count, self._location)


def _read_json_files(tensor: Mapping[str, Any], location: str) -> list[Any]:
    """Return the images in `data`; with shape [n, 1], each may be wrapped in a separate list."""
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or not data:
        raise InvalidRequest(f"{location}: 'data' should be a list of at least one image as base64 text")
    # The type of each side is checked because True == 1 and 1.0 == 1.
    if shape not in ([len(data)], [len(data), 1]) or any(type(side) is not int for side in shape):
        raise InvalidRequest(
            f"{location}: shape {quoted_shape(shape)} does not fit its {len(data)} elements, it should be [{len(data)}]"
        )
    nested = len(shape) == 2 and all(isinstance(row, list) and len(row) == 1 for row in data)
    return [row[0] for row in data] if nested else data


def _read_count(shape: Any, location: str) -> int:
    """Return the number of elements of a tensor of shape [n] or [n, 1]."""
    match shape:
        case [int(count)] | [int(count), 1] if count > 0 and all(type(side) is int for side in shape):
            return count
    raise InvalidRequest(f"{location}: shape {quoted_shape(shape)} should be [n], for n images")


def _read_pixels(tensor: Mapping[str, Any], section: _Section, limits: Limits, location: str) -> PixelData:
    """Return the image in a `UINT8` tensor. Its size is checked before its values are read."""
    shape = tensor.get("shape")
    size = _read_size(shape, location)
    check_pixel_data(size, limits)
    count = size[0] * size[1] * CHANNELS
    values = _read_json_samples(tensor.get("data"), shape, location) if section.size is None else section.take()
    if len(values) != count:
        raise InvalidRequest(f"{location}: shape {quoted_shape(shape)} needs {count:,} values, there are {len(values):,}")
    return PixelData(size, values)


def _read_size(shape: Any, location: str) -> tuple[int, int]:
    """Return the height and width in a shape [H, W, 3] or [1, H, W, 3]."""
    match shape:
        case [int(height), int(width), 3] | [1, int(height), int(width), 3]:
            if min(height, width) > 0 and all(type(side) is int for side in shape):
                return height, width
    raise InvalidRequest(
        f"{location}: shape {quoted_shape(shape)} of 'UINT8' should be [H, W, 3] or [1, H, W, 3], for one image of RGB pixels"
    )


def _read_json_samples(data: Any, shape: Any, location: str) -> bytes:
    """Return the values of a flat list, or of lists nested according to `shape`."""
    if not isinstance(data, list):
        raise InvalidRequest(f"{location}: 'data' is {json_name(data)}, it should be a list of {quoted_shape(shape)} values")
    values = _flatten(data, shape, location) if data and isinstance(data[0], list) else data
    if set(map(type, values)) <= {int}:  # `bytes` would accept True as a number.
        with suppress(ValueError):
            return bytes(values)
    invalid = next(value for value in values if type(value) is not int or not 0 <= value <= 255)
    raise InvalidRequest(f"{location}: 'data' holds {quoted(invalid)}, values of 'UINT8' should be whole numbers from 0 to 255")


def _flatten(data: list[Any], shape: Sequence[int], location: str) -> list[Any]:
    level: list[Any] = [data]
    for side in shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {side}:
            raise InvalidRequest(
                f"{location}: 'data' is not nested as its shape {quoted_shape(shape)} says; a flat list is fine"
            )
        level = list(chain.from_iterable(level))
    return level

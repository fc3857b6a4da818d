"""The output tensors of KServe v2: the answer in its format, and arrays, in JSON or in binary."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.answers import EncodedResponse
from handler.answers.arrays import ARRAYS
from handler.answers.response import compact_json
from handler.errors import InvalidOption, InvalidRequest, ResponseTooLarge
from handler.labels import Labels
from handler.options import ANSWER
from handler.request.protocols.binary_tensors import write_elements
from handler.request.protocols.envelope import base64_text, is_json
from handler.request.protocols.kserve_v2_fields import read_flag, read_options
from handler.wording import json_name, listed, quoted

#: The protocol's names for NumPy's types.
_DATATYPES = {"u1": "UINT8", "u2": "UINT16", "u4": "UINT32", "f4": "FP32"}
#: Nine digits distinguish every FP32 from its neighbours.
_FP32_TEXT = "%.9g"
#: Values written as text at once; small, so that an excessive length is noticed early.
_VALUES_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the client requests by name."""

    name: str
    #: Whether it should be binary; None for the call's default.
    binary: bool | None = None
    #: Options of the answer.
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_array(self) -> bool:
        return self.name in ARRAYS


def read_outputs(outputs: Any, inputs: Sequence[str]) -> list[RequestedOutput]:
    """Return the outputs that a call requests, or an empty list if it names none.

    Args:
        outputs: the call's value of `outputs`.
        inputs: the names of its inputs, by which their answers can be requested.

    Raises:
        InvalidRequest: `outputs` is not a list, or an output is named twice or does not exist.
        InvalidOption: an array output has options.
    """
    if not isinstance(outputs, list | None):
        raise InvalidRequest(f"'outputs' is {json_name(outputs)}, it should be a list of tensors")
    requested: dict[str, RequestedOutput] = {}
    for entry in outputs or ():
        output = _read_output(entry, inputs)
        if output.name in requested:
            raise InvalidRequest(f"output {quoted(output.name)} is named more than once")
        requested[output.name] = output
    return list(requested.values())


def _read_output(entry: Any, inputs: Sequence[str]) -> RequestedOutput:
    fields = entry if isinstance(entry, Mapping) else {"name": entry}
    name = fields.get("name")
    if not isinstance(name, str) or name not in (*inputs, ANSWER, *ARRAYS):
        raise InvalidRequest(
            f"there is no output {quoted(name)}; there are {listed([ANSWER, *ARRAYS])},"
            f" and the answer to each input by its own name: {listed(inputs)}"
        )
    location = f"output {quoted(name)}"
    output = RequestedOutput(name, read_flag(fields, "binary_data", location), read_options(fields, location))
    if output.is_array and output.options:
        raise InvalidOption(
            f"{location}: options, as {listed(output.options)}, go into 'parameters' of the input or of the call"
        )
    return output


def output_metadata(labels: Labels) -> list[dict[str, Any]]:
    """Describe the outputs that can be requested; -1 is a side that depends on the image."""
    arrays = [
        {"name": name, "datatype": _datatype(np.dtype(array.dtype(labels))), "shape": list(array.shape(labels))}
        for name, array in ARRAYS.items()
    ]
    return [{"name": ANSWER, "datatype": "BYTES", "shape": [-1]}, *arrays]


class OutputWriter:
    """Collects the output tensors of a reply."""

    def __init__(self, max_bytes: int) -> None:
        """Start without tensors; `max_bytes` limits an array as text."""
        self._max_bytes = max_bytes
        self._tensors: list[bytes] = []
        #: The bytes after the JSON.
        self.sections: list[bytes] = []

    @property
    def json(self) -> bytes:
        """The list of tensors, as JSON."""
        return b"[" + b",".join(self._tensors) + b"]"

    def add_answers(self, name: str, shape: list[int], answers: Sequence[EncodedResponse], *, binary: bool) -> None:
        """Add a `BYTES` tensor whose elements are answers; in JSON, as their text if they are JSON, else as base64."""
        types = dict.fromkeys(answer.content_type for answer in answers)
        parameters = {"content_type": ", ".join(types)}
        header = {"name": name, "shape": shape, "datatype": "BYTES"}
        if binary:
            self._add_section(header, parameters, write_elements([answer.body for answer in answers]))
        else:
            data = [answer.body.decode() if is_json(answer) else base64_text(answer) for answer in answers]
            self._tensors.append(compact_json({**header, "parameters": parameters, "data": data}))

    def add_array(self, name: str, array: npt.NDArray[np.generic], *, binary: bool) -> None:
        """Add an array, as little-endian bytes or as a flat list of numbers.

        Raises:
            ResponseTooLarge: the list has too many bytes.
        """
        header = {"name": name, "shape": list(array.shape), "datatype": _datatype(array.dtype)}
        if binary:
            self._add_section(header, {}, _to_little_endian(array).tobytes())
            return
        chunks, length = [], 0
        for chunk in _format_numbers(array):
            length += len(chunk) + 1
            if length > self._max_bytes:
                raise ResponseTooLarge(
                    f"output {name!r} has more bytes as JSON than the limit, {self._max_bytes:,};"
                    f" request it with 'binary_data', which takes {array.nbytes:,}"
                )
            chunks.append(chunk)
        self._tensors.append(compact_json(header)[:-1] + b',"data":[' + b",".join(chunks) + b"]}")

    def _add_section(self, header: Mapping[str, Any], parameters: Mapping[str, Any], section: bytes) -> None:
        self.sections.append(section)
        self._tensors.append(compact_json({**header, "parameters": {**parameters, "binary_data_size": len(section)}}))


def _datatype(dtype: np.dtype[Any]) -> str:
    return _DATATYPES[dtype.str[1:]]


def _to_little_endian(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return array if sys.byteorder == "little" else array.astype(array.dtype.newbyteorder("<"))


def _format_numbers(array: npt.NDArray[np.generic]) -> Iterator[bytes]:
    """Yield the values of an array as JSON numbers separated by commas, in chunks."""
    values = array.ravel()
    write = _FP32_TEXT.__mod__ if array.dtype.kind == "f" else str
    for start in range(0, len(values), _VALUES_AT_ONCE):
        yield ",".join(map(write, values[start : start + _VALUES_AT_ONCE].tolist())).encode()

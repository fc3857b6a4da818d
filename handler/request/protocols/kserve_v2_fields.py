"""Read the objects of a KServe v2 call: their keys, parameters and shapes."""

from collections.abc import Collection, Mapping
from typing import Any

from handler.errors import InvalidOption, InvalidRequest
from handler.wording import json_name, quoted
from model.strict import name_hint

#: The protocol's own parameters, which are not options: from its extensions for sequences, scheduling, classification and
#: binary tensors, and from the clients' codecs.
_PROTOCOL_PARAMETERS = {
    *("binary_data", "binary_data_output", "binary_data_size", "classification", "content_type", "headers", "priority"),
    *("sequence_end", "sequence_id", "sequence_start", "timeout"),
}
#: The prefix of parameters that Triton reserves.
_RESERVED_PREFIX = "triton_"


def require_known_keys(fields: Mapping[str, Any], known_keys: Collection[str], location: str) -> None:
    """Refuse unknown keys; otherwise an option outside `parameters` would be silently ignored."""
    for name in fields:
        if name not in known_keys:
            raise InvalidRequest(
                f"{location}: unknown key {quoted(name)}{name_hint(name, known_keys)}; options go into 'parameters'"
            )


def read_parameters(fields: Mapping[str, Any], location: str) -> Mapping[str, Any]:
    """Return the `parameters` of the call or of a tensor.

    Raises:
        InvalidOption: `parameters` is not an object.
    """
    parameters = fields.get("parameters")
    if not isinstance(parameters, Mapping | None):
        raise InvalidOption(f"'parameters' of {location} is {json_name(parameters)}, it should be an object of options by name")
    return parameters or {}


def read_options(fields: Mapping[str, Any], location: str) -> dict[str, Any]:
    """Return the parameters that are options."""
    return {
        name: value
        for name, value in read_parameters(fields, location).items()
        if name not in _PROTOCOL_PARAMETERS and not name.startswith(_RESERVED_PREFIX)
    }


def read_flag(fields: Mapping[str, Any], name: str, location: str) -> bool | None:
    """Return a boolean parameter, or None if it is not set.

    Raises:
        InvalidRequest: the parameter is not a boolean.
    """
    value = read_parameters(fields, location).get(name)
    if not isinstance(value, bool | None):
        raise InvalidRequest(f"{name!r} of {location} is {json_name(value)}, it should be true or false")
    return value


def quoted_shape(shape: Any) -> str:
    """Return a `shape` as the client sent it, shortened if it is long."""
    return f"[{', '.join(map(quoted, shape[:4]))}]" if isinstance(shape, list) else quoted(shape)

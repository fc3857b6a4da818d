"""Read a client's headers, whose names may be in any case."""

from collections.abc import Mapping


def header_value(headers: Mapping[str, str], name: str) -> str | None:
    """Return the value of the header `name`, or None if the client did not send it."""
    return next((value for key, value in headers.items() if key.lower() == name.lower()), None)

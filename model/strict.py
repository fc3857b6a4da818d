"""Frozen, validated settings whose errors name the key, its value and the allowed values."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

_MAX_COMPARED_CHARACTERS = 200


class ConfigurationError(ValueError):
    """A configuration has an unknown key or an invalid value."""


class StrictModel(BaseModel):
    """Base class of all settings: immutable, rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, source: str) -> Self:
        """Validate `data`.

        Args:
            source: where `data` comes from (a file or a section of one), for error messages.

        Raises:
            ConfigurationError: a key or value is invalid; the message names each one.
        """
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            faults = "; ".join(cls._describe(fault) for fault in error.errors())
            raise ConfigurationError(f"{source}: {faults}") from error

    @classmethod
    def _describe(cls, fault: Any) -> str:
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            return f"unknown key {key!r}{name_hint(key.rsplit('.', 1)[-1], _keys(cls, fault['loc'][:-1]))}"
        message: str = fault["msg"].removeprefix("Value error, ")
        if not key:
            return message
        return f"{key!r}: {fault['input']!r}: {message}"


def name_hint(name: str, known_names: Collection[str]) -> str:
    """Return a hint for an unknown `name`: the nearest known name, and all known names."""
    return f"{closest_name_hint(name, known_names)} (known: {', '.join(known_names)})"


def closest_name_hint(name: str, known_names: Collection[str]) -> str:
    """Return a hint for an unknown `name`: the nearest known name, or an empty string."""
    # Clients may send megabytes, and difflib indexes every character.
    close = difflib.get_close_matches(name[:_MAX_COMPARED_CHARACTERS], known_names, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _keys(root: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the model at `path` below `root`."""
    for part in path:
        field = root.model_fields.get(str(part))
        annotation = field.annotation if field else None
        # An optional model is a union with None.
        models = (
            kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
        root = next(models, root)
    return list(root.model_fields)

"""One server's request options: the declarations of `handler.options` with the server's defaults and limits."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import TypeAdapter, ValidationError

from handler.answers import FORMATS
from handler.errors import InvalidOption
from handler.labels import Labels
from handler.option_types import WORD, ClassNames, NumberList, Text, WholeNumber
from handler.options import AUTO_RANGE, FIRST_BANDS, SCALE, TYPE_RANGE, AnswerOptions, InferenceOptions
from handler.settings import HandlerSettings
from handler.wording import quoted
from model.strict import ConfigurationError, closest_name_hint

#: The most characters of a value. A thousand class names have fewer; more would take long to split and look up.
_MAX_LENGTH = 100_000


@dataclass(frozen=True)
class Option:
    """One option of a request."""

    name: str
    #: A type annotated with `handler.option_types`.
    annotation: Any
    #: The value for a request that does not set the option.
    default: Any
    description: str

    def parse(self, value: Any) -> Any:
        """Return the option's value, parsed from `Text` or a JSON value.

        Raises:
            InvalidOption: the value is not allowed; the message names the option, the value and the allowed values.
        """
        if isinstance(value, str) and len(value) > _MAX_LENGTH:
            raise InvalidOption(f"option {self.name!r}: its value has {len(value):,} characters, the limit is {_MAX_LENGTH:,}")
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            fault = _describe_fault(error.errors(include_url=False)[0], self._schema)
            raise InvalidOption(f"option {self.name!r}: {fault} (allowed: {self.allowed.replace('`', '')})") from error

    def json_schema(self) -> dict[str, Any]:
        """Return a JSON Schema for the JSON values that `parse` accepts, with the default and a description."""
        return {**self._schema, "default": self.default, "description": self.description}

    @property
    def allowed(self) -> str:
        """The allowed values in words, as Markdown."""
        return _describe_allowed(self._schema)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.annotation)

    @cached_property
    def _schema(self) -> dict[str, Any]:
        return self._adapter.json_schema()


def option_table(settings: HandlerSettings, labels: Labels) -> dict[str, Option]:
    """Return all options by name, with this server's defaults and limits.

    Raises:
        ConfigurationError: the settings name a class that the model does not have.
    """
    server_types: dict[str, Any] = {
        "format": Annotated[Literal[tuple(FORMATS)], WORD],
        "scales": Annotated[tuple[Annotated[float, SCALE], ...], NumberList(SCALE, settings.inference.max_scales)],
        "tiles": Annotated[int, WholeNumber(1, settings.inference.max_tiles)],
        "classes": Annotated[Any, ClassNames(labels.names)],
    }
    fields = {"format": AnswerOptions.model_fields["format"], **AnswerOptions.model_fields, **InferenceOptions.model_fields}
    defaults = {**dict(settings.inference.defaults), **dict(default_answer(settings, labels))}
    return {
        name: Option(name, server_types.get(name) or field.rebuild_annotation(), defaults[name], field.description or "")
        for name, field in fields.items()
    }


def default_answer(settings: HandlerSettings, labels: Labels) -> AnswerOptions:
    """Return the answer options of a request that sets none.

    Raises:
        ConfigurationError: the settings name a class that the model does not have.
    """
    answer = settings.answer.model_dump()
    try:
        classes = ClassNames(labels.names).read(_to_text(answer.pop("classes")))
    except ValueError as error:
        raise ConfigurationError(f"model-config.yaml, section 'handler': 'answer.classes': {error}") from error
    return AnswerOptions(**answer, classes=classes)


def _to_text(classes: Any) -> Any:
    """Convert class names to `Text`, so that an operator may write them in any case."""
    return None if classes is None else [Text(name) if isinstance(name, str) else name for name in classes]


def _describe_fault(fault: Any, schema: dict[str, Any]) -> str:
    value = fault["input"]
    match fault.get("ctx"):
        case {"error": error}:
            return str(error)
        case {"ge": minimum}:
            return f"{quoted(value)} is below {minimum:g}"
        case {"le": maximum}:
            return f"{quoted(value)} is above {maximum:g}"
        case _:
            return f"{quoted(value)} does not exist{closest_name_hint(value, schema['enum']) if isinstance(value, str) else ''}"


def _describe_allowed(schema: Any) -> str:
    match schema:
        case {"enum": [True, *_]}:
            return "`true`, `false`"
        case {"enum": words}:
            return ", ".join(f"`{word}`" for word in words)
        case {"type": ["array", "number", *_], "minimum": minimum, "maximum": maximum, "maxItems": limit}:
            return f"up to {limit} of {minimum:g} … {maximum:g}, as `0.75,1,1.25`"
        case {"type": ["array", "integer", "string"], "not": _, "maximum": limit}:
            return f"one or three of 1 … {limit}, as `3,2,1`; `{FIRST_BANDS}`"
        case {"type": ["array", "string"]}:
            return f"two values, as `0,3000`; `{TYPE_RANGE}`, `{AUTO_RANGE}`"
        case {"type": ["array", "integer", *_]}:
            return "names or indices, as `cat,dog` or `8,12`; `all`"
        case {"type": [kind, *_], "minimum": minimum, "maximum": maximum}:
            return f"{'whole numbers, ' if kind == 'integer' else ''}{minimum:g} … {maximum:g}"
        case {"type": "string", "maxLength": limit}:
            return f"a file's name, up to {limit} characters without control characters"
    raise ValueError(f"no words for {schema}")

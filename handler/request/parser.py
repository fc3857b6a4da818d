"""Turn one call and its headers into segmentation requests. Defines the sources of options and their precedence."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import Any

from handler.answers import FORMATS
from handler.errors import InvalidOption, InvalidRequest, error_context
from handler.labels import Labels
from handler.option_types import Text
from handler.options import (
    ANSWER,
    TYPE_RANGE,
    AnswerOptions,
    InferenceOptions,
    ReadingOptions,
    SegmentationRequest,
    check_range,
)
from handler.request.accept import preferred_format
from handler.request.bodies import Instance, read_options
from handler.request.headers import header_value
from handler.request.option_table import Option, default_answer, option_table
from handler.request.protocols import Envelope, Plain
from handler.settings import HandlerSettings
from handler.wording import quoted
from model.strict import name_hint

_HEADER_PREFIX = "x-segment-"
_NO_QUERY: Mapping[str, str] = MappingProxyType({})
_DEFAULT_INFERENCE = InferenceOptions()
#: The only format of explanations.
EXPLANATION_FORMAT = "png"


class RequestParser:
    """Collects and checks the options of requests to one model."""

    def __init__(self, settings: HandlerSettings, labels: Labels) -> None:
        """Build the options; raise ConfigurationError if the settings name a class that the model does not have."""
        self.options: dict[str, Option] = option_table(settings, labels)
        self._inference = settings.inference.defaults
        self._answer = default_answer(settings, labels)
        #: Formats that can represent all classes of the model.
        self._formats = {name: entry for name, entry in FORMATS.items() if len(labels.names) <= entry.max_classes}

    def parse(
        self,
        envelope: Envelope,
        headers: Mapping[str, str],
        *,
        explain: bool = False,
        format_name: str | None = None,
        query: Mapping[str, str] = _NO_QUERY,
    ) -> list[SegmentationRequest]:
        """Return one request per image of a call, with all of its options.

        An option sent with the image overrides one in the query string, which overrides an `X-Segment-*` header, which
        overrides `format_name`, which overrides `Accept`. Every source is checked, even if it is overridden.

        Args:
            envelope: the call in its wire format.
            headers: the client's headers, with names in any case.
            explain: whether the client wants explanations instead of segmentations.
            format_name: the response format in the URL; ignored for KServe, whose URLs contain none.
            query: the options in the URL's query string.

        Raises:
            InvalidRequest: the envelope is malformed, or an image is missing or badly encoded.
            InvalidOption: an option is unknown, or its value is not allowed.
            InstancesTooMany: the call holds more images than the limit.
        """
        instances = envelope.instances()
        count = len(instances)
        url_options = {"format": Text(format_name)} if format_name and isinstance(envelope, Plain) else {}
        query_options = self.parse_options(read_options({name: Text(value) for name, value in query.items()}))
        call_options = {**self.parse_options(url_options), **self.parse_options(_header_options(headers)), **query_options}
        accept_options = {} if explain else self._accepted_format(headers)
        requests = []
        for position, instance in enumerate(instances):
            with error_context(f"image {position}") if count > 1 else nullcontext():
                options = {**call_options, **self.parse_options(instance.fields)}
                if explain:
                    _require_explainable(options, instance.outputs)
                requests.append(self._make_request(instance, {**accept_options, **options}, explain, count))
        return requests

    def _make_request(
        self, instance: Instance, options: Mapping[str, Any], explain: bool, images_per_call: int
    ) -> SegmentationRequest:
        inference, answer = self.fill_in(options)
        # The server's default classes select what a segmentation reports, not the class to explain.
        classes = options.get("classes") if explain else None
        return SegmentationRequest(
            instance.image,
            inference,
            answer,
            explain=explain,
            explain_class=classes[0] if classes else None,
            images_per_call=images_per_call,
            outputs=instance.outputs,
        )

    def fill_in(self, options: Mapping[str, Any]) -> tuple[InferenceOptions, AnswerOptions]:
        """Complete parsed `options` with the server's defaults.

        Raises:
            InvalidOption: `range` does not ascend.
        """
        try:
            check_range(options.get("range", TYPE_RANGE))
        except ValueError as error:
            raise InvalidOption(f"option 'range': {error}") from error
        inference = {name: value for name, value in options.items() if name in InferenceOptions.model_fields}
        answer = {name: value for name, value in options.items() if name in AnswerOptions.model_fields}
        return self._inference.model_copy(update=inference), self._answer.model_copy(update=answer)

    def parse_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parsed option values from one source, by lower-case name."""
        values: dict[str, Any] = {}
        for name, value in options.items():
            key = name.lower()
            if key not in self.options:
                raise InvalidOption(f"unknown option {quoted(key)}{name_hint(key, self.options)}")
            if key in values:
                raise InvalidOption(f"option {key!r}: given more than once, in different spellings")
            values[key] = self.options[key].parse(value)
        return values

    def _accepted_format(self, headers: Mapping[str, str]) -> dict[str, str]:
        name = preferred_format(header_value(headers, "Accept") or "", self._formats)
        return {} if name is None else {"format": name}


def _require_explainable(options: Mapping[str, Any], outputs: Sequence[str]) -> None:
    """Refuse options that an explanation would otherwise ignore; every format ignores the options of other formats."""
    for name in outputs:
        if name != ANSWER:
            raise InvalidRequest(f"an explanation has no output {name!r}, only {ANSWER!r}")
    for name, default in _DEFAULT_INFERENCE:
        if name not in ReadingOptions.model_fields and options.get(name, default) != default:
            raise InvalidOption(f"option {name!r}: an explanation shows the network the whole image once, at scale 1")
    if options.get("format", EXPLANATION_FORMAT) != EXPLANATION_FORMAT:
        raise InvalidOption(f"option 'format': {options['format']!r}: an explanation is always {EXPLANATION_FORMAT!r}")
    if len(options.get("classes") or ()) > 1:
        raise InvalidOption(f"option 'classes': {len(options['classes'])} classes; an explanation is about one")


def _header_options(headers: Mapping[str, str]) -> dict[str, Text]:
    """Return the options in `X-Segment-*` headers, such as `X-Segment-Min-Score`."""
    return {
        name[len(_HEADER_PREFIX) :].replace("-", "_"): Text(value)
        for name, value in headers.items()
        if name.lower().startswith(_HEADER_PREFIX)
    }

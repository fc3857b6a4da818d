"""One row of a batch and its headers to the requests in it. The sources of a request's options, and their order, are here."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from handler.answers import FORMATS
from handler.errors import InstancesTooMany, InvalidOption, located
from handler.labels import Labels
from handler.options import AnswerOptions, InferenceOptions, SegmentationRequest
from handler.request.accept import preferred
from handler.request.option_table import Option, default_answer, option_table
from handler.request.protocols import Call, Plain
from handler.settings import HandlerSettings
from handler.wording import quoted
from model.strict import nearest

_HEADER_PREFIX = "x-segment-"
_DEFAULT_INFERENCE = InferenceOptions()
#: What explanations are answered as.
_EXPLANATION_FORMAT = "png"


class RequestParser:
    """Finds and checks the options of requests to one model."""

    def __init__(self, settings: HandlerSettings, labels: Labels) -> None:
        """Raises ConfigurationError if the settings name a class that the model does not have."""
        self.options: dict[str, Option] = option_table(settings, labels)
        self._inference = settings.inference.defaults
        self._answer = default_answer(settings, labels)
        self._most = settings.limits.max_instances
        #: Those that can hold the model's classes.
        self._formats = {name: entry for name, entry in FORMATS.items() if len(labels.names) <= entry.most_classes}

    def parse(self, call: Call, headers: Mapping[str, Any]) -> list[SegmentationRequest]:
        """The requests of one call, each with its options in full.

        Options come from the fields beside the image, `X-Segment-*` headers, the last segment of the URL and `Accept`, in
        this order of weight.

        Args:
            call: the call.
            headers: in the client's spelling; entries that are not text (the parts of a form) are skipped.

        Raises:
            InvalidRequest: no image, or more than one where there should be one.
            InvalidOption: an option that is unknown or has a value that is not allowed.
            InstancesTooMany: more images than one call may hold.
        """
        instances = call.instances()
        if len(instances) > self._most:
            raise InstancesTooMany(f"the call holds {len(instances)} images, the limit is {self._most}")
        explain = is_explanation(headers)
        outside = {**self._checked(_in_url(headers, call)), **self._checked(_in_headers(headers))}
        by_accept = {} if explain else self._by_accept(headers)
        found = []
        for position, instance in enumerate(instances):
            with located(f"image {position}") if len(instances) > 1 else nullcontext():
                given = {**outside, **self._checked(instance.fields)}
                if explain:
                    _require_explainable(given)
                found.append(self._request(instance.image, {**by_accept, **given}, explain, len(instances)))
        return found

    def _request(self, image: bytes, given: Mapping[str, Any], explain: bool, images_per_call: int) -> SegmentationRequest:
        inference = {name: value for name, value in given.items() if name in InferenceOptions.model_fields}
        answer = {name: value for name, value in given.items() if name in AnswerOptions.model_fields}
        return SegmentationRequest(
            image,
            self._inference.model_copy(update=inference),
            self._answer.model_copy(update=answer),
            explain,
            images_per_call,
        )

    def _checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of options from one source, whether or not another source goes before it."""
        values: dict[str, Any] = {}
        for name, value in given.items():
            folded = name.lower()
            if folded not in self.options:
                raise InvalidOption(f"unknown option {quoted(folded)}{nearest(folded, self.options)}")
            if folded in values:
                raise InvalidOption(f"option {folded!r}: is there more than once, in different spellings")
            values[folded] = self.options[folded].parse(value)
        return values

    def _by_accept(self, headers: Mapping[str, Any]) -> dict[str, str]:
        accept = next((value for name, value in headers.items() if name.lower() == "accept" and isinstance(value, str)), "")
        name = preferred(accept, self._formats)
        return {} if name is None else {"format": name}


def is_explanation(headers: Mapping[str, Any]) -> bool:
    """Whether the client asked at `/explanations` or KServe's `:explain`.

    TorchServe itself sets `explain` for every request that comes by a path for predictions or explanations, over what the
    client sent by that name; in another spelling, the client's own is there too and means nothing.
    """
    return headers.get("explain") == "True"


def is_description(row: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """Whether the management API asks for what the model says of itself (`GET /models/NAME?customized=true`).

    Such a request has no content, and not the `explain` that TorchServe sets for all that come in for predictions.
    """
    return not row and headers.get("describe") == "True" and "explain" not in headers


def _require_explainable(given: Mapping[str, Any]) -> None:
    """Refuse what an explanation would pass over in silence; options of formats are passed over by other formats as well."""
    for name, asked in _DEFAULT_INFERENCE:
        if given.get(name, asked) != asked:
            raise InvalidOption(f"option {name!r}: an explanation is of the image as the network sees it once, at scale 1")
    if given.get("format", _EXPLANATION_FORMAT) != _EXPLANATION_FORMAT:
        raise InvalidOption(f"option 'format': {given['format']!r}: an explanation is a {_EXPLANATION_FORMAT!r}")
    if len(given.get("classes") or ()) > 1:
        raise InvalidOption(f"option 'classes': {len(given['classes'])} classes; an explanation is of one")


def _in_url(headers: Mapping[str, Any], call: Call) -> dict[str, str]:
    """The format that the URL's last segment names.

    TorchServe sets this header at /predictions and /explanations, in this spelling. A client's own in another is not it, nor
    any at KServe's paths.
    """
    url = headers.get("url_path")
    return {"format": url.strip("/")} if isinstance(call, Plain) and isinstance(url, str) and url.strip("/") else {}


def _in_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """Options by the rest of the names of `X-Segment-*` headers."""
    own = {name: value for name, value in headers.items() if name.lower().startswith(_HEADER_PREFIX) and isinstance(value, str)}
    return {name[len(_HEADER_PREFIX) :].replace("-", "_"): _as_sent(value) for name, value in own.items()}


def _as_sent(value: str) -> str:
    """TorchServe reads a header's bytes as Latin-1; most clients write UTF-8, as in a class's name."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value

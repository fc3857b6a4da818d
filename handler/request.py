"""One row of a batch and its headers to one request. The options of a request and their sources are here."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from handler.encoders import FORMATS
from handler.errors import InvalidOption, InvalidRequest
from handler.options import GREATEST_SCALE, LEAST_SCALE, REFINEMENTS, InferenceOptions, usable_scales
from handler.settings import HandlerSettings
from model.strict import nearest

_IMAGE_FIELDS = ("data", "image", "body")
_HEADER_PREFIX = "x-segment-"
_HOW_TO_SEND = "send the file's bytes (curl -T photo.jpg URL) or a form (curl -F data=@photo.jpg URL)"
_DEFAULT_SETTINGS = HandlerSettings()
_DEFAULT_INFERENCE = InferenceOptions()


@dataclass(frozen=True)
class SegmentationRequest:
    """An image file and how its segmentation is to be answered."""

    image: bytes
    format: str = "json"
    #: In full; `parse_request` fills in the server's defaults.
    inference: InferenceOptions = _DEFAULT_INFERENCE


def _format(text: str, _: HandlerSettings) -> str:
    return _one_of("format", text, FORMATS)


def _scales(text: str, settings: HandlerSettings) -> tuple[float, ...]:
    pieces, limit = text.split(","), settings.inference.max_scales
    if len(pieces) > limit:
        raise InvalidOption(f"option 'scales': {len(pieces)} scales are more than this server's limit of {limit}")
    allowed = f"give numbers from {LEAST_SCALE} to {GREATEST_SCALE}, separated by commas"
    try:
        scales = [float(piece) for piece in pieces]
    except ValueError as error:
        raise InvalidOption(f"option 'scales': {text!r} is not a list of numbers; {allowed}") from error
    try:
        return usable_scales(scales)
    except ValueError as error:
        raise InvalidOption(f"option 'scales': {error}; {allowed}") from error


def _flip(text: str, _: HandlerSettings) -> bool:
    return _one_of("flip", text, ("true", "false")) == "true"


def _refine(text: str, _: HandlerSettings) -> str:
    return _one_of("refine", text, REFINEMENTS)


def _one_of(name: str, text: str, known: Collection[str]) -> str:
    value = text.strip().lower()
    if value not in known:
        raise InvalidOption(f"option {name!r}: {text!r} does not exist{nearest(value, known)}")
    return value


#: Parsers of the options by name; each raises InvalidOption, naming the value and what the settings allow.
OPTIONS: dict[str, Callable[[str, HandlerSettings], Any]] = {
    "format": _format,
    "scales": _scales,
    "flip": _flip,
    "refine": _refine,
}


def parse_request(
    row: Mapping[str, Any], headers: Mapping[str, Any], settings: HandlerSettings = _DEFAULT_SETTINGS
) -> SegmentationRequest:
    """Find the image and the options in what TorchServe hands over.

    Options come from form fields, `X-Segment-*` headers, the last segment of the URL and `Accept`, in this order of weight.

    Args:
        row: form fields by name, or the raw body as `body`.
        headers: the request's headers in the client's spelling; entries that are not text (the parts of a form) are skipped.
        settings: the server's: what is taken where the request says nothing, and how much it may ask for.

    Raises:
        InvalidRequest: no image, or more than one.
        InvalidOption: an option that is unknown or has a value that is not allowed.
    """
    image = _image(row)
    folded = {name.lower(): value for name, value in headers.items() if isinstance(value, str)}
    given = {
        **_from_accept(folded.get("accept", "")),
        **({"format": folded["url_path"]} if folded.get("url_path") else {}),
        **{_option_name(name): value for name, value in folded.items() if name.startswith(_HEADER_PREFIX)},
        **{name.lower(): _text(name, value) for name, value in row.items() if name not in _IMAGE_FIELDS},
    }
    options = {name: _parse(name, text, settings) for name, text in given.items()}
    inference = {name: options.pop(name) for name in InferenceOptions.model_fields if name in options}
    return SegmentationRequest(image, inference=settings.inference.defaults.model_copy(update=inference), **options)


def _image(row: Mapping[str, Any]) -> bytes:
    present = [name for name in _IMAGE_FIELDS if name in row]
    if not present:
        fields = f"; the fields sent are {', '.join(map(repr, row))}" if row else ""
        raise InvalidRequest(f"no image in the request{fields}; {_HOW_TO_SEND}")
    if len(present) > 1:
        raise InvalidRequest(f"more than one image in the request, in the fields {', '.join(map(repr, present))}; send one")
    value = row[present[0]]
    if not isinstance(value, bytes | bytearray):
        raise InvalidRequest(f"the image is not sent as bytes but as {type(value).__name__}; {_HOW_TO_SEND}")
    if not value:
        raise InvalidRequest(f"no image in the request: {present[0]!r} is empty; {_HOW_TO_SEND}")
    return bytes(value)


def _from_accept(accept: str) -> dict[str, str]:
    """The first format that the most wanted media range of `Accept` admits; none where it admits none of ours."""
    ranges = []
    for position, part in enumerate(accept.split(",")):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        ranges.append((-_quality(quality), position, media_range))
    for negated_quality, _, media_range in sorted(ranges):
        for name, entry in FORMATS.items():
            if negated_quality < 0 and media_range in (entry.content_type, entry.content_type.split("/")[0] + "/*", "*/*"):
                return {"format": name}
    return {}


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def _option_name(header: str) -> str:
    return header.removeprefix(_HEADER_PREFIX).replace("-", "_")


def _text(name: str, value: Any) -> str:
    try:
        return bytes(value).decode() if isinstance(value, bytes | bytearray) else str(value)
    except UnicodeDecodeError as error:
        raise InvalidOption(f"option {name!r}: its value is not UTF-8 text") from error


def _parse(name: str, text: str, settings: HandlerSettings) -> Any:
    if name not in OPTIONS:
        raise InvalidOption(f"unknown option {name!r}{nearest(name, OPTIONS)}")
    return OPTIONS[name](text, settings)

"""One row of a batch and its headers to one request. The options of a request and their sources are here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handler.encoders import DEFAULT_FORMAT, FORMATS
from handler.errors import InvalidOption, InvalidRequest
from model.strict import nearest

_IMAGE_FIELDS = ("data", "image", "body")
_HEADER_PREFIX = "x-segment-"
_HOW_TO_SEND = "send the file's bytes (curl -T photo.jpg URL) or a form (curl -F data=@photo.jpg URL)"


@dataclass(frozen=True)
class SegmentationRequest:
    """An image file and how its segmentation is to be answered."""

    image: bytes
    format: str = DEFAULT_FORMAT


def _format(text: str) -> str:
    name = text.strip().lower()
    if name not in FORMATS:
        raise InvalidOption(f"option 'format': {text!r} does not exist{nearest(name, FORMATS)}")
    return name


#: Parsers of the options by name; each raises InvalidOption.
OPTIONS: dict[str, Callable[[str], Any]] = {"format": _format}


def parse_request(row: Mapping[str, Any], headers: Mapping[str, Any]) -> SegmentationRequest:
    """Find the image and the options in what TorchServe hands over.

    Options come from form fields, `X-Segment-*` headers, the last segment of the URL and `Accept`, in this order of weight.

    Args:
        row: form fields by name, or the raw body as `body`.
        headers: the request's headers in the client's spelling; entries that are not text (the parts of a form) are skipped.

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
    return SegmentationRequest(image, **{name: _parse(name, text) for name, text in given.items()})


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


def _parse(name: str, text: str) -> Any:
    if name not in OPTIONS:
        raise InvalidOption(f"unknown option {name!r}{nearest(name, OPTIONS)}")
    return OPTIONS[name](text)

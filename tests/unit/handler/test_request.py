import pytest

from handler.errors import InvalidOption, InvalidRequest
from handler.options import InferenceOptions
from handler.request import SegmentationRequest, parse_request
from handler.settings import HandlerSettings, InferenceSettings

IMAGE = b"an image"


@pytest.mark.parametrize("field", ["body", "data", "image"])
def test_the_image_is_found_in_every_field_that_may_hold_it(field: str) -> None:
    assert parse_request({field: bytearray(IMAGE)}, {}) == SegmentationRequest(IMAGE, "json")


@pytest.mark.parametrize(
    ("row", "headers", "expected"),
    [
        ({}, {}, "json"),
        ({}, {"Accept": "image/png"}, "png"),
        ({}, {"Accept": "image/png", "url_path": "overlay"}, "overlay"),
        ({}, {"Accept": "image/png", "url_path": "overlay", "X-Segment-Format": "json"}, "json"),
        ({"format": b"png"}, {"Accept": "image/jpeg", "url_path": "overlay", "X-Segment-Format": "json"}, "png"),
    ],
)
def test_the_most_explicit_format_wins(row: dict[str, bytes], headers: dict[str, str], expected: str) -> None:
    assert parse_request({"data": IMAGE, **row}, headers).format == expected


@pytest.mark.parametrize("header", ["X-Segment-Format", "x-segment-format", "X-SEGMENT-FORMAT"])
def test_header_names_are_folded(header: str) -> None:
    assert parse_request({"body": IMAGE}, {header: "PNG"}).format == "png"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "json"),
        ("application/json", "json"),
        ("image/jpeg", "overlay"),
        ("text/html, image/png;q=0.8, */*;q=0.5", "png"),
        ("image/png;q=0.2, image/jpeg;q=0.9", "overlay"),
        ("image/png;q=0, application/json", "json"),
        ("image/png;q=nonsense", "json"),
        ("image/*", "png"),
        ("image/[jp]*", "json"),
        ("image/jpeg;q=0.5, image/png;q=inf", "png"),
        ("image/png;q=nan", "json"),
        ("audio/ogg", "json"),
        (";;,,", "json"),
    ],
)
def test_accept_chooses_by_quality_and_otherwise_json(accept: str, expected: str) -> None:
    assert parse_request({"body": IMAGE}, {"Accept": accept}).format == expected


def test_the_parts_of_a_form_are_no_options() -> None:
    headers = {"data": {"content-type": "image/jpeg"}, "x-segment-part": {"content-type": "text/plain"}}

    assert parse_request({"data": IMAGE}, headers).format == "json"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, r"no image in the request; send the file's bytes"),
        ({"picture": IMAGE}, r"the fields sent are 'picture'"),
        ({"body": bytearray()}, r"'body' is empty"),
        ({"data": IMAGE, "image": IMAGE}, r"more than one image in the request, in the fields 'data', 'image'"),
        ({"body": {"data": "aGk="}}, r"not sent as bytes but as dict"),
    ],
)
def test_a_request_without_one_image_is_refused(row: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_request(row, {})


@pytest.mark.parametrize(
    ("row", "headers", "message"),
    [
        ({}, {"X-Segment-Format": "pgn"}, r"option 'format': 'pgn' does not exist, did you mean 'png'\? \(known: json, png"),
        ({"colour": b"red"}, {}, r"unknown option 'colour' \(known: format, scales, flip, refine\)"),
        ({}, {"X-Segment-Min-Score": "0.5"}, r"unknown option 'min_score'"),
        ({"format": b"\xff\xfe"}, {}, r"option 'format': its value is not UTF-8 text"),
        ({}, {"url_path": "svg"}, r"option 'format': 'svg' does not exist"),
        ({"scales": b"9"}, {}, r"option 'scales': 9\.0 is above 2\.0; give numbers from 0\.25 to 2\.0, separated by commas"),
        ({}, {"X-Segment-Scales": "1, 0.1"}, r"option 'scales': 0\.1 is below 0\.25; give"),
        ({"scales": b"nan"}, {}, r"option 'scales': nan is not a number"),
        ({"scales": b"-inf"}, {}, r"option 'scales': -inf is below 0\.25"),
        ({"scales": b"1,1.0"}, {}, r"option 'scales': 1\.0 is there more than once"),
        ({"scales": b"1;2"}, {}, r"option 'scales': '1;2' is not a list of numbers; give"),
        ({"scales": b""}, {}, r"option 'scales': '' is not a list of numbers"),
        ({"scales": b"1," * 6}, {}, r"option 'scales': 7 scales are more than this server's limit of 6"),
        ({"flip": b"yes"}, {}, r"option 'flip': 'yes' does not exist \(known: true, false\)"),
        ({}, {"X-Segment-Refine": "crv"}, r"option 'refine': 'crv' does not exist, did you mean 'crf'\? \(known: none, crf\)"),
    ],
)
def test_a_bad_option_is_named_with_what_is_allowed(row: dict[str, bytes], headers: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        parse_request({"data": IMAGE, **row}, headers)


@pytest.mark.parametrize(
    ("row", "headers", "expected"),
    [
        ({}, {}, InferenceOptions()),
        ({"scales": b"1.25, 0.75 ,1"}, {}, InferenceOptions(scales=(0.75, 1, 1.25))),
        ({}, {"X-Segment-Scales": "2", "X-Segment-Flip": "TRUE"}, InferenceOptions(scales=(2,), flip=True)),
        ({"flip": b"false"}, {"X-Segment-Flip": "true"}, InferenceOptions()),
        ({"refine": b"crf"}, {}, InferenceOptions(refine="crf")),
    ],
)
def test_scales_flip_and_refinement_are_fields_or_headers(
    row: dict[str, bytes], headers: dict[str, str], expected: InferenceOptions
) -> None:
    assert parse_request({"data": IMAGE, **row}, headers).inference == expected


def test_what_a_request_does_not_say_is_the_servers() -> None:
    settings = HandlerSettings(inference=InferenceSettings(scales=(0.5, 1), flip=True))

    assert parse_request({"data": IMAGE}, {}, settings).inference == InferenceOptions(scales=(0.5, 1), flip=True)
    assert parse_request({"data": IMAGE, "scales": b"1"}, {}, settings).inference == InferenceOptions(flip=True)


def test_the_server_limits_how_many_scales_there_are() -> None:
    settings = HandlerSettings(inference=InferenceSettings(max_scales=1))

    with pytest.raises(InvalidOption, match="2 scales are more than this server's limit of 1"):
        parse_request({"data": IMAGE, "scales": b"0.5,1"}, {}, settings)

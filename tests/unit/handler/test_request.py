import pytest

from handler.errors import InvalidOption, InvalidRequest
from handler.request import SegmentationRequest, parse_request

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
        ({"colour": b"red"}, {}, r"unknown option 'colour' \(known: format\)"),
        ({}, {"X-Segment-Min-Score": "0.5"}, r"unknown option 'min_score'"),
        ({"format": b"\xff\xfe"}, {}, r"option 'format': its value is not UTF-8 text"),
        ({}, {"url_path": "svg"}, r"option 'format': 'svg' does not exist"),
    ],
)
def test_a_bad_option_is_named_with_what_is_allowed(row: dict[str, bytes], headers: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        parse_request({"data": IMAGE, **row}, headers)

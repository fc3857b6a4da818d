from collections.abc import Mapping
from typing import Any

import pytest

from handler.encoders import ModelIdentity
from handler.errors import InvalidOption, InvalidRequest
from handler.labels import Labels
from handler.options import InferenceOptions
from handler.protocols import open_call
from handler.request import RequestParser, SegmentationRequest
from handler.settings import HandlerSettings, InferenceSettings
from model.palette import voc_palette

IMAGE = b"an image"
LABELS = Labels(("background", "cat", "dog", "traffic light, red", "7"), voc_palette(5))


def parse_all(
    row: Mapping[str, Any], headers: Mapping[str, Any], settings: HandlerSettings | None = None
) -> list[SegmentationRequest]:
    parser = RequestParser(settings or HandlerSettings(), LABELS)
    return parser.parse(open_call(row, ModelIdentity("m", "1")), headers)


def parse_request(
    row: Mapping[str, Any], headers: Mapping[str, Any], settings: HandlerSettings | None = None
) -> SegmentationRequest:
    (request,) = parse_all(row, headers, settings)
    return request


@pytest.mark.parametrize("field", ["body", "data", "image"])
def test_the_image_is_found_in_every_field_that_may_hold_it(field: str) -> None:
    assert parse_request({field: bytearray(IMAGE)}, {}) == SegmentationRequest(IMAGE)


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
    assert parse_request({"data": IMAGE, **row}, headers).answer.format == expected


@pytest.mark.parametrize("header", ["X-Segment-Format", "x-segment-format", "X-SEGMENT-FORMAT"])
def test_header_names_are_folded(header: str) -> None:
    assert parse_request({"body": IMAGE}, {header: "PNG"}).answer.format == "png"


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
    assert parse_request({"body": IMAGE}, {"Accept": accept}).answer.format == expected


def test_the_parts_of_a_form_are_no_options() -> None:
    headers = {"data": {"content-type": "image/jpeg"}, "x-segment-part": {"content-type": "text/plain"}}

    assert parse_request({"data": IMAGE}, headers).answer.format == "json"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, r"no image in the request; send the file's bytes"),
        ({"picture": IMAGE}, r"the fields sent are 'picture'"),
        ({"body": bytearray()}, r"'body' is empty"),
        ({"data": IMAGE, "image": IMAGE}, r"more than one image in the request, in the fields 'data', 'image'"),
        ({"body": [1]}, r"the image in 'body' is sent as a list, it should be base64 text"),
        ({"body": None}, r"the image in 'body' is sent as null"),
        ({"body": b'{"data": '}, r"'body' begins like JSON but is none: Expecting value"),
        ({"body": b"[1, 2]"}, r"'body' holds a list in JSON, it should hold an image"),
        ({"body": {"data": 5}}, r"the image in 'data' is sent as a number"),
        ({"body": {"data": "no base64!"}}, r"the image in 'data' is not base64 \(.*\); it begins 'no base64!'"),
        ({"body": {"data": "data:image/png,abc"}}, r"the data: URI in 'data' is not one of base64: it begins 'data:image/png'"),
        ({"body": {"options": {}}}, r"no image in the request; the fields sent are 'options'"),
    ],
)
def test_a_request_without_one_image_is_refused(row: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_request(row, {})


@pytest.mark.parametrize(
    ("row", "headers", "message"),
    [
        ({}, {"X-Segment-Format": "pgn"}, r"option 'format': 'pgn' does not exist, did you mean 'png'\? \(known: json, png"),
        ({"colour": b"red"}, {}, r"unknown option 'colour' \(known: format, masks, scales, flip, tiles, refine"),
        ({}, {"X-Segment-Min-Scor": "0.5"}, r"unknown option 'min_scor', did you mean 'min_score'\?"),
        ({"min_score": b"1.5"}, {}, r"option 'min_score': 1\.5 is above 1; allowed: 0 … 1"),
        ({}, {"X-Segment-Alpha": "-0.1"}, r"option 'alpha': -0\.1 is below 0"),
        ({"tolerance": b"nan"}, {}, r"option 'tolerance': 'nan' is not a number"),
        ({"classes": b"kat"}, {}, r"option 'classes': there is no class 'kat', did you mean 'cat'\? \(known: background, cat"),
        ({"classes": b"5"}, {}, r"option 'classes': there is no class 5, the last is 4, '7'"),
        ({"classes": b"[1, "}, {}, r"option 'classes': '\[1, ' is not a JSON list"),
        ({"classes": b"[]"}, {}, r"option 'classes': names no class"),
        ({"masks": b"bitmap"}, {}, r"option 'masks': 'bitmap' does not exist \(known: rle, png, polygons, none\)"),
        ({"options": b"{"}, {}, r"the field 'options' is not JSON: "),
        ({"options": b"[1]"}, {}, r"the field 'options' is a list, it should be an object"),
        ({"format": b"\xff\xfe"}, {}, r"option 'format': its value is not UTF-8 text"),
        ({}, {"url_path": "svg"}, r"option 'format': 'svg' does not exist"),
        ({"scales": b"9"}, {}, r"option 'scales': 9\.0 is above 2\.0; allowed: up to 6 of 0\.25 … 2, as 0\.75,1,1\.25"),
        ({}, {"X-Segment-Scales": "1, 0.1"}, r"option 'scales': 0\.1 is below 0\.25; allowed"),
        ({"scales": b"nan"}, {}, r"option 'scales': 'nan' is not a number"),
        ({"scales": b"-inf"}, {}, r"option 'scales': -inf is below 0\.25"),
        ({"scales": b"1,1.0"}, {}, r"option 'scales': 1\.0 is there more than once"),
        ({"scales": b"1;2"}, {}, r"option 'scales': '1;2' is not a number; allowed"),
        ({"scales": b""}, {}, r"option 'scales': '' is not a number"),
        ({"scales": b"1," * 6}, {}, r"option 'scales': 7 scales are more than this server's limit of 6"),
        ({"flip": b"yes"}, {}, r"option 'flip': 'yes' is neither true nor false; allowed: true, false"),
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

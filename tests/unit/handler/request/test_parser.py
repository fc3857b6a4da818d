import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.answers import FORMATS
from handler.errors import InstancesTooMany, InvalidOption, InvalidRequest
from handler.labels import Labels
from handler.limits import Limits
from handler.options import (
    MASKS,
    REFINEMENTS,
    UNCERTAINTIES,
    Y_AXES,
    AnswerOptions,
    InferenceOptions,
    ModelIdentity,
    SegmentationRequest,
)
from handler.request.parser import RequestParser
from handler.request.protocols import read_envelope
from handler.settings import AnswerSettings, HandlerSettings, InferenceSettings
from model.palette import voc_palette

IMAGE = b"an image"
LABELS = Labels(("background", "cat", "dog", "traffic light, red", "7"), voc_palette(5))


def parse_all(
    fields: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    settings: HandlerSettings | None = None,
    *,
    explain: bool = False,
    format_name: str | None = None,
) -> list[SegmentationRequest]:
    settings = settings or HandlerSettings()
    envelope = read_envelope(fields, ModelIdentity("m", "1"), headers or {}, settings.limits)
    return RequestParser(settings, LABELS).parse(envelope, headers or {}, explain=explain, format_name=format_name)


def parse_request(
    fields: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    settings: HandlerSettings | None = None,
    *,
    explain: bool = False,
    format_name: str | None = None,
) -> SegmentationRequest:
    (request,) = parse_all(fields, headers, settings, explain=explain, format_name=format_name)
    return request


@pytest.mark.parametrize("field", ["body", "data", "image"])
def test_the_image_is_read_from_each_of_its_fields(field: str) -> None:
    assert parse_request({field: bytearray(IMAGE)}, {}) == SegmentationRequest(IMAGE)


@pytest.mark.parametrize(
    ("fields", "headers", "url_format", "expected"),
    [
        ({}, {}, None, "json"),
        ({}, {"Accept": "image/png"}, None, "png"),
        ({}, {"Accept": "image/png"}, "overlay", "overlay"),
        ({}, {"Accept": "image/png", "X-Segment-Format": "json"}, "overlay", "json"),
        ({"format": b"png"}, {"Accept": "image/jpeg", "X-Segment-Format": "json"}, "overlay", "png"),
    ],
)
def test_the_most_explicit_format_wins(
    fields: dict[str, bytes], headers: dict[str, str], url_format: str | None, expected: str
) -> None:
    assert parse_request({"data": IMAGE, **fields}, headers, format_name=url_format).answer.format == expected


@pytest.mark.parametrize("header", ["X-Segment-Format", "x-segment-format", "X-SEGMENT-FORMAT"])
def test_header_names_are_case_insensitive(header: str) -> None:
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
        ("image/png;q=0.1, text/x;q=nan, image/jpeg;q=1", "overlay"),
        ("application/json;q=0, */*;q=0.5", "png"),
        ("application/geo+json", "geojson"),
        ("audio/ogg", "json"),
        (";;,,", "json"),
    ],
)
def test_accept_selects_by_quality_and_defaults_to_json(accept: str, expected: str) -> None:
    assert parse_request({"body": IMAGE}, {"Accept": accept}).answer.format == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"no image in the request; send the file's bytes"),
        ({"picture": IMAGE}, r"the fields sent are 'picture'"),
        ({"body": bytearray()}, r"'body' is empty"),
        ({"data": IMAGE, "image": IMAGE}, r"more than one image in the request, in the fields 'data', 'image'"),
        ({"body": [1]}, r"the image in 'body' is sent as a list, it should be base64 text"),
        ({"body": None}, r"the image in 'body' is sent as null"),
        ({"body": b'{"data": '}, r"'body' looks like JSON but does not parse: Expecting value"),
        ({"body": b"[1, 2]"}, r"'body' holds a list in JSON, it should hold an image"),
        ({"body": {"data": 5}}, r"the image in 'data' is sent as a number"),
        ({"body": {"data": "no base64!"}}, r"the image in 'data' is not base64 \(.*\); it begins 'no base64!'"),
        ({"body": {"data": "data:image/png,abc"}}, r"data: URI in 'data'.*'data:image/png'"),
        ({"body": {"options": {}}}, r"no image in the request; the fields sent are 'options'"),
    ],
)
def test_a_request_without_one_image_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_request(fields, {})


@pytest.mark.parametrize(
    ("fields", "headers", "message"),
    [
        ({}, {"X-Segment-Format": "pgn"}, r"option 'format': 'pgn' does not exist, did you mean 'png'\? \(allowed: json, png"),
        ({"colour": b"red"}, {}, r"unknown option 'colour' \(known: format, masks, "),
        ({}, {"X-Segment-Min-Scor": "0.5"}, r"unknown option 'min_scor', did you mean 'min_score'\?"),
        ({"min_score": b"1.5"}, {}, r"option 'min_score': 1\.5 is above 1 \(allowed: 0 … 1"),
        ({}, {"X-Segment-Alpha": "-0.1"}, r"option 'alpha': -0\.1 is below 0"),
        ({"tolerance": b"nan"}, {}, r"option 'tolerance': 'nan' is not a number"),
        ({"classes": b"kat"}, {}, r"option 'classes': there is no class 'kat', did you mean 'cat'\? \(known: background, cat"),
        ({"classes": b"5"}, {}, r"option 'classes': there is no class 5, the last is 4, '7'"),
        ({"classes": b"[1, "}, {}, r"option 'classes': '\[1, ' is not a JSON list"),
        ({"classes": b"[]"}, {}, r"option 'classes': the list is empty"),
        ({"masks": b"bitmap"}, {}, r"option 'masks': 'bitmap' does not exist \(allowed: rle, png, polygons, none\)"),
        ({"options": b"{"}, {}, r"the field 'options' is not JSON: "),
        ({"options": b"[1]"}, {}, r"the field 'options' is a list, it should be an object"),
        ({"format": b"\xff\xfe"}, {}, r"option 'format': its value is not UTF-8 text"),
        ({"scales": b"9"}, {}, r"option 'scales': 9\.0 is above 2 \(allowed: up to 6 of 0\.25 … 2, as 0\.75,1,1\.25"),
        ({}, {"X-Segment-Scales": "1, 0.1"}, r"option 'scales': 0\.1 is below 0\.25 \(allowed"),
        ({"scales": b"nan"}, {}, r"option 'scales': 'nan' is not a number"),
        ({"scales": b"-inf"}, {}, r"option 'scales': '-inf' is not a number"),
        ({"scales": b"1;2"}, {}, r"option 'scales': '1;2' is not a number \(allowed"),
        ({"scales": b""}, {}, r"option 'scales': '' is not a number"),
        ({"scales": b"1," * 6}, {}, r"option 'scales': 7 .* limit of 6"),
        ({"flip": b"yes"}, {}, r"option 'flip': 'yes' is neither true nor false \(allowed: true, false"),
        (
            {},
            {"X-Segment-Refine": "crv"},
            r"option 'refine': 'crv' does not exist, did you mean 'crf'\? \(allowed: none, crf\)",
        ),
    ],
)
def test_an_invalid_option_names_the_allowed_values(fields: dict[str, bytes], headers: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        parse_request({"data": IMAGE, **fields}, headers)


@pytest.mark.parametrize(
    ("fields", "headers", "expected"),
    [
        ({}, {}, InferenceOptions()),
        ({"scales": b"1.25, 0.75 ,1"}, {}, InferenceOptions(scales=(0.75, 1, 1.25))),
        ({}, {"X-Segment-Scales": "2", "X-Segment-Flip": "TRUE"}, InferenceOptions(scales=(2,), flip=True)),
        ({"flip": b"false"}, {"X-Segment-Flip": "true"}, InferenceOptions()),
        ({"refine": b"crf"}, {}, InferenceOptions(refine="crf")),
    ],
)
def test_scales_flip_and_refinement_are_fields_or_headers(
    fields: dict[str, bytes], headers: dict[str, str], expected: InferenceOptions
) -> None:
    assert parse_request({"data": IMAGE, **fields}, headers).inference == expected


def test_omitted_options_take_the_servers_defaults() -> None:
    settings = HandlerSettings(inference=InferenceSettings(scales=(0.5, 1), flip=True))

    assert parse_request({"data": IMAGE}, {}, settings).inference == InferenceOptions(scales=(0.5, 1), flip=True)
    assert parse_request({"data": IMAGE, "scales": b"1"}, {}, settings).inference == InferenceOptions(flip=True)


def test_the_server_limits_the_number_of_scales() -> None:
    settings = HandlerSettings(inference=InferenceSettings(max_scales=1))

    with pytest.raises(InvalidOption, match=r"2 .* limit of 1"):
        parse_request({"data": IMAGE, "scales": b"0.5,1"}, {}, settings)


#: A JSON value of each option.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "format": st.sampled_from(list(FORMATS)),
    "masks": st.sampled_from(MASKS),
    "scales": st.lists(st.floats(0.25, 2), min_size=1, max_size=6, unique=True),
    "flip": st.booleans(),
    "tiles": st.integers(1, 4),
    "refine": st.sampled_from(REFINEMENTS),
    "bands": st.one_of(st.just("first"), st.integers(1, 9), st.lists(st.integers(1, 999), min_size=3, max_size=3)),
    "range": st.one_of(
        st.sampled_from(["type", "auto"]), st.tuples(st.floats(-10, 0.9), st.floats(1, 65_535)).map(lambda pair: [*pair])
    ),
    "classes": st.lists(st.sampled_from(["background", "cat", "dog", 3]), min_size=1, max_size=5),
    "min_score": st.floats(0, 1),
    "components": st.booleans(),
    "alpha": st.floats(0, 1),
    "tolerance": st.floats(0, 10),
    "y_axis": st.sampled_from(Y_AXES),
    "uncertainty": st.sampled_from(UNCERTAINTIES),
    "image_name": st.sampled_from(["cat.jpg", "../a b/cat, 2.png"]),
}


def as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def test_the_sample_values_cover_all_options() -> None:
    assert set(VALUES) == {*InferenceOptions.model_fields, *AnswerOptions.model_fields}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_options_give_the_same_request_by_every_route(options: dict[str, Any]) -> None:
    photo = base64.b64encode(IMAGE).decode()
    tensor = {"name": "a", "shape": [1], "datatype": "BYTES", "data": [photo]}
    text = {name: as_text(value) for name, value in options.items()}
    headers = {f"X-Segment-{name.replace('_', '-').title()}": value for name, value in text.items()}
    form_fields = {name: value.encode() for name, value in text.items()}
    routes: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"body": bytearray(IMAGE)}, headers),
        ({"data": IMAGE, **form_fields}, {}),
        ({"data": IMAGE, "options": json.dumps(options).encode()}, {}),
        ({"body": {"data": photo, **options}}, {}),
        ({"body": {"data": photo, "options": options}}, {}),
        ({"body": {"instances": [{"data": photo, **options}]}}, {}),
        ({"body": {"instances": [photo], "options": options}}, {}),
        ({"body": {"inputs": [{**tensor, "parameters": options}]}}, {}),
        ({"body": {"inputs": [tensor], "parameters": {name: value.lower() for name, value in text.items()}}}, {}),
        ({"body": {"data": photo, "options": {name: value.lower() for name, value in text.items()}}}, {}),
    ]

    requests = [parse_request(*route) for route in routes]

    assert requests[0].image == IMAGE
    assert all(request == requests[0] for request in requests)


def test_a_format_in_the_url_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidOption, match=r"'format': 'svg'"):
        parse_request({"data": IMAGE}, format_name="svg")


@pytest.mark.parametrize("headers", [{"explain": "True"}, {"describe": "True"}, {"url_path": "png"}, {"format": "png"}])
def test_headers_of_the_server_are_ignored(headers: dict[str, str]) -> None:
    assert parse_request({"body": IMAGE}, headers) == SegmentationRequest(IMAGE)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": b"overlay"}, r"'format': 'overlay'.* 'png'$"),
        ({"classes": b"cat,dog"}, r"^option 'classes': 2 classes"),
        ({"scales": b"0.5"}, r"^option 'scales': an explanation shows the network the whole image once, at scale 1$"),
        ({"flip": b"true"}, r"^option 'flip': "),
        ({"tiles": b"2"}, r"^option 'tiles': "),
        ({"refine": b"crf"}, r"^option 'refine': "),
    ],
)
def test_an_explanation_refuses_options_that_it_would_ignore(fields: dict[str, bytes], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        parse_request({"data": IMAGE, **fields}, explain=True)


def test_an_explanation_accepts_classes_alpha_and_format() -> None:
    request = parse_request({"data": IMAGE, "classes": b"dog", "alpha": b"1", "format": b"png"}, explain=True)

    assert (request.explain, request.explain_class, request.answer.alpha) == (True, 2, 1)


@pytest.mark.parametrize(
    ("fields", "expected"), [({}, None), ({"classes": b"all"}, None), ({"classes": b"cat"}, 1), ({"classes": b"background"}, 0)]
)
def test_an_explanation_ignores_the_servers_default_classes(fields: dict[str, bytes], expected: int | None) -> None:
    settings = HandlerSettings(answer=AnswerSettings(classes=("dog",)))

    assert parse_request({"data": IMAGE, **fields}, settings=settings, explain=True).explain_class == expected
    assert parse_request({"data": IMAGE, **fields}, settings=settings).explain_class is None


@pytest.mark.parametrize(
    "body", [{"instances": ["eA=="] * 4}, {"inputs": [{"name": "a", "shape": [4], "datatype": "BYTES", "data": ["eA=="] * 4}]}]
)
def test_the_images_per_call_are_limited_and_known_to_each_request(body: dict[str, Any]) -> None:
    sufficient, exceeded = (HandlerSettings(limits=Limits(max_instances=limit)) for limit in (4, 3))

    assert [request.images_per_call for request in parse_all({"body": body}, {}, sufficient)] == [4] * 4
    with pytest.raises(InstancesTooMany, match=r"^the call holds 4 images, the limit is 3$"):
        parse_all({"body": body}, {}, exceeded)


def test_a_bad_option_of_one_of_several_images_names_the_image() -> None:
    with pytest.raises(InvalidOption, match=r"^image 1: option 'flip': .*'perhaps'"):
        parse_all({"body": {"instances": ["eA==", {"data": "eA==", "flip": "perhaps"}]}}, {})
    with pytest.raises(InvalidOption, match=r"^option 'flip': .*'perhaps'"):
        parse_all({"body": {"instances": ["eA=="], "flip": "perhaps"}}, {})


def test_an_overridden_format_is_still_validated() -> None:
    with pytest.raises(InvalidOption, match="'bogus' does not exist"):
        parse_request({"data": IMAGE}, {"X-Segment-Format": "png"}, format_name="bogus")


@pytest.mark.parametrize(
    ("fields", "headers"),
    [({"Format": b"png", "format": b"json"}, {}), ({}, {"X-Segment-Flip": "true", "x-segment-flip": "false"})],
)
def test_an_option_in_two_spellings_is_refused(fields: dict[str, bytes], headers: dict[str, str]) -> None:
    with pytest.raises(InvalidOption, match=r"option '(format|flip)': given more than once, in different spellings"):
        parse_request({"data": IMAGE, **fields}, headers)


def test_kserve_calls_ignore_the_format_in_the_url() -> None:
    assert parse_request({"body": {"instances": ["aGk="]}}, format_name="png").answer.format == "json"


def test_json_may_begin_with_the_byte_order_mark_of_utf_8() -> None:
    body = '{"data": "aGk=", "format": "png"}'.encode("utf-8-sig")

    assert parse_request({"body": body}).answer.format == "png"


def test_accept_skips_a_format_that_cannot_hold_the_classes() -> None:
    labels = Labels(tuple(map(str, range(257))), voc_palette(257))
    (request,) = RequestParser(HandlerSettings(), labels).parse(
        read_envelope({"data": IMAGE}, ModelIdentity("m", "1")), {"Accept": "image/png"}
    )

    assert request.answer.format == "index"


def test_an_explanation_accepts_options_at_their_defaults() -> None:
    request = parse_request({"data": IMAGE, "scales": b"1", "flip": b"false"}, explain=True)

    assert request.explain


def test_tensorflow_servings_signature_name_is_accepted() -> None:
    body = {"signature_name": "serving_default", "instances": ["aGk="]}

    assert len(parse_all({"body": body}, {})) == 1


@pytest.mark.parametrize("value", ["5,5", "200,100", "[1, -1]"])
def test_a_range_whose_black_is_not_below_its_white_is_refused(value: str) -> None:
    with pytest.raises(InvalidOption, match=r"^option 'range': .* black must be below white$"):
        parse_request({"data": IMAGE, "range": value.encode()})


def test_an_explanation_accepts_bands_and_range() -> None:
    request = parse_request({"data": IMAGE, "bands": b"3,2,1", "range": b"auto"}, explain=True)

    assert (request.inference.bands, request.inference.range) == ((3, 2, 1), "auto")


def test_fields_override_the_query_string_and_it_overrides_headers() -> None:
    headers = {"X-Segment-Alpha": "0.1", "X-Segment-Masks": "png", "X-Segment-Min-Score": "0.3"}
    envelope = read_envelope({"data": IMAGE, "alpha": b"0.9"}, ModelIdentity("m", "1"))

    (request,) = RequestParser(HandlerSettings(), LABELS).parse(envelope, headers, query={"alpha": "0.5", "Masks": "none"})

    assert (request.answer.alpha, request.answer.masks, request.answer.min_score) == (0.9, "none", 0.3)

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from handler.errors import InvalidOption, InvalidRequest
from handler.option_types import Text
from handler.options import ModelIdentity
from handler.request.bodies import Instance, image_bytes, json_body, read_fields, read_options
from handler.request.protocols import read_envelope

IMAGE = b"\x89PNG an image"
BASE64 = base64.b64encode(IMAGE).decode()


def read_instance(fields: dict[str, Any]) -> Instance:
    (instance,) = read_envelope(fields, ModelIdentity("m", "1")).instances()
    return instance


@pytest.mark.parametrize("field", ["body", "data", "image"])
@pytest.mark.parametrize(
    "value",
    [IMAGE, bytearray(IMAGE), BASE64, f"data:image/png;base64,{BASE64}", f"DATA:;BASE64,{BASE64}".encode()],
    ids=["bytes", "bytearray", "base64", "data URI", "data URI as bytes"],
)
def test_an_image_is_bytes_base64_or_a_data_uri_in_any_of_its_fields(field: str, value: object) -> None:
    assert read_instance({field: value}) == Instance(IMAGE, {})


def test_json_accepts_images_in_the_form_of_tensorflow_serving() -> None:
    assert read_instance({"body": {"data": {"b64": BASE64}}}) == Instance(IMAGE, {})


@given(st.binary(min_size=1), st.sampled_from(["", "data:image/jpeg;base64,", "data:;base64,"]))
def test_base64_may_be_broken_into_lines(image: bytes, prefix: str) -> None:
    assert image_bytes("data", prefix + base64.encodebytes(image).decode()) == image


@pytest.mark.parametrize(
    "wrap",
    [lambda body: body, lambda body: json.dumps(body).encode(), lambda body: b" \n" + json.dumps(body).encode()],
    ids=["object", "bytes", "white space first"],
)
def test_a_json_body_is_read_like_a_form_whatever_its_content_type(wrap: Any) -> None:
    fields = {"body": wrap({"data": BASE64, "format": "png", "options": {"alpha": 0.25}})}

    assert read_instance(fields) == Instance(IMAGE, {"format": "png", "alpha": 0.25})


LONG = IMAGE * 4
TEXT = base64.b64encode(LONG)


@pytest.mark.parametrize(
    "value",
    [TEXT, bytearray(TEXT), base64.encodebytes(LONG), b"\r\n" + TEXT + b"\n", b"DATA:image/jpeg;base64," + TEXT],
    ids=["bytes", "bytearray", "lines", "line breaks around", "data URI"],
)
def test_base64_is_accepted_as_bytes_as_in_a_form_field(value: bytes) -> None:
    assert read_instance({"data": value}) == Instance(LONG, {})


@given(st.binary(min_size=26), st.booleans(), st.booleans())
def test_base64_in_an_urlencoded_form_may_have_lost_its_pluses(image: bytes, lines: bool, uri: bool) -> None:
    text = (base64.encodebytes if lines else base64.b64encode)(image).strip().replace(b"+", b" ")
    assume(uri or not re.match(rb"P\d ", text))  # Netpbm's text files begin like this.

    assert image_bytes("data", b"data:;base64," + text if uri else text) == image


@pytest.mark.parametrize("value", [TEXT[:-1], b"A" * 33], ids=["truncated", "impossible length"])
def test_invalid_base64_bytes_are_not_taken_for_an_image(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"the image in 'data' is not base64 \(.*\); it begins"):
        read_instance({"data": value})


@pytest.mark.parametrize(
    "file",
    [b"P3\n2 2\n255\n" + b"0 0 0\n" * 40, b"BM" + bytes(40), b"AAAA" + b" " * 1_000_000 + b"\0"],
    ids=["PPM", "BMP", "spaces"],
)
def test_a_text_like_image_file_is_not_taken_for_base64(file: bytes) -> None:
    assert read_instance({"body": file}).image == file


@pytest.mark.parametrize("name", ["file", "photo", "upload[0]", "image_bytes", "", "DATA"])
@pytest.mark.parametrize(
    "value",
    [b"\xff\xd8 a file", bytearray(b"a\0"), TEXT, TEXT.decode(), f"data:;base64,{BASE64}", {"b64": BASE64}, b"text " * 50],
    ids=["bytes", "bytearray", "base64 bytes", "base64", "data URI", "b64", "a long text file"],
)
def test_the_only_file_field_is_the_image_whatever_its_name(name: str, value: Any) -> None:
    instance = read_instance({name: value, "format": b"png", "Classes": b"cat" * 40, "options": b'{"flip": true}'})

    assert instance.image == image_bytes(name, value)
    assert instance.fields == {"format": "png", "Classes": "cat" * 40, "flip": True}


def test_two_file_fields_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"more than one image in the request, in the fields 'a', 'b'; send one"):
        read_instance({"a": b"\xff\xd8", "b": b"\xff\xd8"})


def test_a_misspelt_option_is_not_an_image() -> None:
    with pytest.raises(InvalidRequest, match=r"no image in the request; the fields sent are 'formt', 'clases'"):
        read_instance({"formt": b"png", "clases": "cat"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scales": [0.5, 1], "flip": True}, {"scales": [0.5, 1], "flip": True}),
        (b'{"flip": true}', {"flip": True}),
        ('{"flip": true}', {"flip": True}),
        (b"", {}),
        (None, {}),
        ({}, {}),
    ],
)
def test_options_are_an_object_or_its_json_text(options: object, expected: dict[str, object]) -> None:
    assert read_instance({"data": IMAGE, "options": options}).fields == expected


def test_a_field_overrides_the_same_key_in_options() -> None:
    assert read_options({"format": b"png", "options": {"format": "npz", "flip": True}}) == {"format": "png", "flip": True}


@pytest.mark.parametrize("value", [bytearray("träd".encode()), "träd"])
def test_fields_of_a_form_are_text(value: object) -> None:
    fields = read_instance({"data": IMAGE, "classes": value}).fields

    assert fields == {"classes": "träd"}
    assert isinstance(fields["classes"], Text)


def test_strings_in_json_are_not_text() -> None:
    fields = read_instance({"body": {"data": BASE64, "classes": "cat", "options": {"format": "png"}}, "masks": b"none"}).fields

    assert {name for name, value in fields.items() if isinstance(value, Text)} == {"masks"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"^no image in the request; send the file's bytes \(curl -T photo\.jpg URL\), a form"),
        ({"format": b"png"}, r"no image in the request; the fields sent are 'format'; send"),
        (
            {f"f{i}": b"" for i in range(20)},
            r"the fields sent are 'f0', 'f1', 'f2', 'f3', 'f4', 'f5', 'f6', 'f7', … \(20 in all\)",
        ),
        ({"x" * 1000: b""}, r"the fields sent are 'x{80}'… \(1,000 characters\)"),
        ({"data": IMAGE, "body": IMAGE}, r"more than one image in the request, in the fields 'data', 'body'; send one"),
        ({"data": b""}, r"no image in the request: 'data' is empty"),
        ({"data": ""}, r"no image in the request: 'data' is empty"),
        ({"data": True}, r"the image in 'data' is sent as true, it should be base64 text"),
        ({"data": {"base64": BASE64}}, r"the image in 'data' is sent as an object"),
        ({"data": {"b64": [1]}}, r"the image in 'data' is sent as a list"),
        ({"data": b'{"data": "x"}'}, r"'data' holds an object in JSON, it should hold an image"),
        ({"body": b"[]"}, r"'body' holds a list in JSON, it should hold an image"),
        ({"body": b"[" * 100_000}, r"'body' looks like JSON but does not parse: "),
        ({"body": '{"data": "eA=="}'.encode("utf-16")}, r"'body' is UTF-16 text, JSON should be UTF-8"),
        ({"body": "[]".encode("utf-32")}, r"'body' is UTF-16 text"),
        ({"body": '{"data": "é"}'.encode("latin-1")}, r"'body' looks like JSON but does not parse: 'utf-8' codec"),
        ({"data": "data:image/png," + BASE64}, r"data: URI in 'data'.* it begins 'data:image/png'"),
        ({"data": "data:image/png;base64"}, r"data: URI in 'data'.* it begins 'data:image/png;base64'"),
        ({"data": "ab\ud800"}, r"the image in 'data' is not base64 \(.*\); it begins 'ab\\ud800'"),
        ({"data": BASE64[:-2]}, r"the image in 'data' is not base64 \(Incorrect padding\)"),
        ({"data": "nöt base64" * 100}, r"the image in 'data' is not base64 \(.{1,100}\); it begins '.{40}'$"),
    ],
)
def test_a_request_without_exactly_one_image_is_refused_briefly(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as error:
        read_instance(fields)

    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"options": b"{"}, r"the field 'options' is not JSON: Expecting"),
        ({"options": "[" * 100_000}, r"the field 'options' is not JSON: "),
        ({"options": ["format"]}, r"the field 'options' is a list, it should be an object of options by name"),
        ({"options": True}, r"the field 'options' is true, it should be an object"),
        ({"options": b"\xff"}, r"option 'options': its value is not UTF-8 text"),
        ({"y" * 1000: b"\xff"}, r"option 'y{80}'… \(1,000 characters\): its value is not UTF-8 text"),
    ],
)
def test_malformed_options_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        read_fields({"data": IMAGE, **fields})


@pytest.mark.parametrize("body", [IMAGE, b"", b"[1]", b'{"a": ', b"{" * 100_000, b'{"a": "\xff"}', [1], None, "text"])
def test_anything_but_a_json_object_is_not_a_json_body(body: object) -> None:
    assert json_body({"body": body}) is None


@given(
    st.binary(min_size=1, max_size=50),
    st.sampled_from(
        [b"", b"{", b"[", b"\0[", b"[\0", b"\0\0\0{", b"\xef\xbb\xbf[", b"\xff\xfe", b"\xfe\xff", b"data:", b" \n{"]
    ),
)
def test_bytes_are_an_image_unless_they_begin_like_text(tail: bytes, start: bytes) -> None:
    body = start + tail
    begins_like_text = re.match(rb"(\xef\xbb\xbf)?[ \t\r\n]*[\[{]|\xff\xfe|\xfe\xff|(?i:data:)", body)

    try:
        assert read_instance({"body": body}).image == body
    except InvalidRequest:
        assert begins_like_text
    else:
        assert not begins_like_text

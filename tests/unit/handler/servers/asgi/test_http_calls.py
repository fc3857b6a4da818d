"""HTTP bodies and query strings become the fields that TorchServe passes to the handler."""

import gzip
import json
import zlib
from contextlib import suppress

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import ImageTooLarge, InvalidOption, InvalidRequest, UnsupportedEncoding
from handler.servers.asgi.http_calls import read_body, read_call, read_query
from handler.servers.asgi.messages import HttpRequest

_URLENCODED = "application/x-www-form-urlencoded"
_JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF=&"


def form(**fields: object) -> tuple[bytes, str]:
    """Return body and content type of a multipart form, as written by a client library."""
    prepared = requests.Request("POST", "http://a", files=fields).prepare()
    assert isinstance(prepared.body, bytes)
    return prepared.body, prepared.headers["Content-Type"]


@given(st.binary(), st.binary(min_size=1, max_size=300))
def test_the_parts_of_a_form_are_bytes_whatever_their_content(file: bytes, text: bytes) -> None:
    assert read_body(*form(data=("a.jpg", file), note=(None, text))) == {"data": file, "note": text}


def test_a_file_of_json_or_text_is_decoded_as_torchserve_does() -> None:
    body, content_type = form(
        data=("a.json", b'{"a": 1}', "application/json"),
        image=("a.txt", b"abc", "text/plain"),
        bad=("b", b"{", "application/json"),
    )

    assert read_body(body, content_type) == {"data": {"a": 1}, "image": "abc", "bad": b"{"}


@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1).filter(lambda fields: any(fields.values())))
def test_an_urlencoded_form_is_read_whatever_its_text(fields: dict[str, str]) -> None:
    body = requests.Request("POST", "http://a", data=fields).prepare().body
    assert isinstance(body, str)

    expected = {name: value.encode() for name, value in fields.items()}
    assert read_body(body.encode(), f"{_URLENCODED}; charset=utf-8") == expected


@pytest.mark.parametrize("body", [_JPEG, b'{"instances": ["eA=="]}', b"eHl6eHl6eA==", b"hello", b""])
def test_a_file_json_or_base64_that_curl_labels_a_form_is_the_body(body: bytes) -> None:
    assert read_body(body, _URLENCODED) == {"body": body}


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{"a": [1]}', "application/json; charset=utf-8", {"a": [1]}),
        (b"{", "application/json", b"{"),
        (b"[" * 100_000, "application/json", b"[" * 100_000),
        (b"data:,x", "text/plain", "data:,x"),
        (b"\xff", "text/plain", b"\xff"),
        (_JPEG, "image/jpeg", _JPEG),
        (_JPEG, "", _JPEG),
    ],
)
def test_other_bodies_are_one_field(body: bytes, content_type: str, expected: object) -> None:
    assert read_body(body, content_type) == {"body": expected}


@pytest.mark.parametrize(
    ("body", "content_type", "word"),
    [
        (b"", "multipart/form-data", "boundary"),
        (b"--XX\r\nnonsense", "multipart/form-data; boundary=XX", "form"),
        (b"--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n1", "multipart/form-data; boundary=XX", "truncated"),
        (b"--XX\r\nContent-Disposition: form-data\r\n\r\n1\r\n--XX--\r\n", "multipart/form-data; boundary=XX", "no name"),
        (b"=png&a=1", _URLENCODED, "without a name"),
        (b"&".join(b"a=%d" % number for number in range(1001)), _URLENCODED, "1,000"),
    ],
)
def test_a_broken_form_is_an_invalid_request(body: bytes, content_type: str, word: str) -> None:
    with pytest.raises(InvalidRequest, match=word):
        read_body(body, content_type)


@given(st.binary(max_size=200), st.sampled_from(["multipart/form-data; boundary=X", _URLENCODED, "application/json", "text/x"]))
def test_any_bytes_give_fields_or_an_invalid_request(body: bytes, content_type: str) -> None:
    with suppress(InvalidRequest):
        assert isinstance(read_body(body, content_type), dict)


def test_a_query_string_holds_options() -> None:
    assert read_query("format=png&classes=tr%C3%A4d,cat&masks=") == {"format": "png", "classes": "träd,cat", "masks": ""}


@pytest.mark.parametrize("query", ["format=png&format=json", "classes=%ff"])
def test_an_ambiguous_or_undecodable_query_string_is_an_invalid_option(query: str) -> None:
    with pytest.raises(InvalidOption):
        read_query(query)


def test_a_call_has_the_fields_of_the_request() -> None:
    body = json.dumps({"data": "eA=="}).encode()
    request = HttpRequest("id", "explain", "png", {"content-type": "application/json"}, "alpha=1", body)

    call = read_call(request, 1_000)

    assert (call.fields, call.action, call.format) == ({"body": {"data": "eA=="}}, "explain", "png")
    assert (call.query, call.request_id) == ({"alpha": "1"}, "id")


@pytest.mark.parametrize("kind", ["multipart", _URLENCODED])
def test_a_compressed_form_has_its_fields(kind: str) -> None:
    body, content_type = form(data="pixels") if kind == "multipart" else (b"data=pixels", _URLENCODED)

    call = read_call(compressed_request(gzip.compress(zlib.compress(body)), content_type, "deflate, GZip"), 1_000)

    assert (call.fields, call.headers) == ({"data": b"pixels"}, {"content-type": content_type})


@pytest.mark.parametrize(
    ("body", "encoding", "error"),
    [
        (gzip.compress(b"a=" + bytes(1_000)), "gzip", ImageTooLarge),
        (gzip.compress(b"a=1")[:-1], "gzip", InvalidRequest),
        (b"a=1", "gzip", InvalidRequest),
        (b"a=1", "br", UnsupportedEncoding),
    ],
    ids=["bomb", "truncated", "not compressed", "unknown"],
)
def test_a_form_that_cannot_be_inflated_is_refused(body: bytes, encoding: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_call(compressed_request(body, _URLENCODED, encoding), 1_000)


def test_other_bodies_are_inflated_later() -> None:
    file = gzip.compress(_JPEG)

    call = read_call(compressed_request(file, "image/jpeg", "gzip"), 1_000)

    assert (call.fields, call.headers["content-encoding"]) == ({"body": file}, "gzip")


def compressed_request(body: bytes, content_type: str, encoding: str) -> HttpRequest:
    return HttpRequest("id", "predict", headers={"content-type": content_type, "content-encoding": encoding}, body=body)

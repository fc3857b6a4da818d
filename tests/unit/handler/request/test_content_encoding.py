import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import ImageTooLarge, InvalidRequest, UnsupportedEncoding
from handler.request.content_encoding import decode_content

IMAGE = b"\x89PNG an image" * 50


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def decode(body: Any, encoding: str, limit: int = 10_000) -> Any:
    return decode_content({"body": body, "x": b"1"}, {"content-ENCODING": encoding}, limit)["body"]


@pytest.mark.parametrize("body", [IMAGE, {"data": "x"}, None])
@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": ""}, {"Content-Encoding": "identity"}])
def test_an_unencoded_body_is_unchanged(headers: dict[str, str], body: object) -> None:
    assert decode_content({"body": body}, headers, 1) == {"body": body}


@given(st.binary(), st.lists(st.sampled_from(["gzip", "x-gzip", "deflate", "GZip", "identity"]), max_size=3))
def test_encodings_are_undone_from_the_last_to_the_first(data: bytes, names: list[str]) -> None:
    encoders: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "deflate": zlib.compress}
    body = data
    for name in names:
        body = encoders.get(name, gzip.compress)(body)

    assert decode(bytearray(body), " , ".join(names)) == data


def test_other_fields_are_unchanged() -> None:
    assert decode_content({"body": gzip.compress(b"a"), "x": b"1"}, {"Content-Encoding": "gzip"}, 9) == {
        "body": b"a",
        "x": b"1",
    }


@given(st.binary())
def test_raw_deflate_is_inflated(data: bytes) -> None:
    assert decode(raw_deflate(data), "deflate") == data


def test_gzip_may_have_several_members() -> None:
    assert decode(gzip.compress(b"a" * 90) + gzip.compress(b"") + gzip.compress(b"b"), "gzip") == b"a" * 90 + b"b"


def test_an_empty_body_stays_empty() -> None:
    assert decode(b"", "gzip") == b""


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, raw_deflate])
def test_the_limit_counts_inflated_bytes(compress: Any) -> None:
    encoding = "gzip" if compress is gzip.compress else "deflate"

    assert decode(compress(bytes(1000)), encoding, 1000) == bytes(1000)
    with pytest.raises(ImageTooLarge, match=r"^the body inflates to more than 1,000 bytes, the limit$"):
        decode(compress(bytes(1001)), encoding, 1000)


def test_a_bomb_is_refused_without_inflating_it() -> None:
    bomb = gzip.compress(gzip.compress(bytes(20 << 20)))

    with pytest.raises(ImageTooLarge):
        decode(bomb, "gzip, gzip", 1 << 20)
    with pytest.raises(ImageTooLarge):
        decode(gzip.compress(bytes(300)) * 900, "gzip", 1 << 17)


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (gzip.compress(IMAGE)[:-1], "gzip", r"^the compressed body is truncated$"),
        (zlib.compress(IMAGE)[:-5], "deflate", r"^the compressed body is truncated$"),
        (gzip.compress(IMAGE) + b"..", "gzip", r"^the body is not 'gzip', as Content-Encoding says: .*incorrect header"),
        (zlib.compress(IMAGE) + b"..", "deflate", r"^the compressed body has 2 bytes after its end$"),
        (gzip.compress(b"") * 1_001, "gzip", r"^the compressed body has 20 bytes after its end$"),
        (IMAGE, "gzip", r"^the body is not 'gzip', as Content-Encoding says: "),
        (IMAGE, "deflate", r"^the body is not 'deflate', as Content-Encoding says: "),
        (gzip.compress(IMAGE)[:-8] + bytes(8), "gzip", r"^the body is not 'gzip'.*incorrect data check"),
        ({"data": "eA=="}, "gzip", r"^Content-Encoding is 'gzip', but the body is not compressed$"),
        ("text", "gzip", r"^the body is not 'gzip', as Content-Encoding says: "),
        ("é" * 50, "gzip, deflate", r"^the body is not 'deflate'"),
    ],
)
def test_a_body_that_contradicts_the_header_is_refused(body: object, encoding: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        decode(body, encoding)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("br", r"^Content-Encoding 'br' is not supported, send 'gzip', 'deflate' or none$"),
        ("gzip, zstd", r"^Content-Encoding 'zstd'"),
        ("utf-8", r"^Content-Encoding 'utf-8'"),
        ("gzip" + ",gzip" * 3, r"^Content-Encoding names 4 encodings, the limit is 3$"),
    ],
)
def test_other_encodings_are_unsupported(encoding: str, message: str) -> None:
    with pytest.raises(UnsupportedEncoding, match=message) as error:
        decode(gzip.compress(IMAGE), encoding)

    assert error.value.status == 415


def test_a_compressed_form_is_refused_as_such() -> None:
    with pytest.raises(InvalidRequest, match=r"^the body is compressed \('gzip'\).* send forms without Content-Encoding$"):
        decode_content({}, {"Content-Encoding": "gzip"}, 9)


def test_json_may_be_compressed() -> None:
    body = json.dumps({"data": "eA=="}).encode()

    assert decode(gzip.compress(body), "gzip") == body

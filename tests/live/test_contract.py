"""The HTTP contract, row by row: bodies, options and formats on every route."""

import base64
import gzip
import io
import json
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from handler.answers import FORMATS
from handler.options import AnswerOptions, InferenceOptions
from scripts.server import Server
from tests.live.client import TIMEOUT_S, error, error_in, mask, post
from tests.live.routes import ROUTES, kserve_v1_url, kserve_v2_url, routes_of
from tests.support import encode

#: The network takes a quarter of the time.
QUICK = {"scales": "0.5"}
QUICK_HEADERS = {"X-Segment-Scales": QUICK["scales"]}
#: For every option a value that changes the answer, with the other options needed for that.
CHANGES: dict[str, dict[str, str]] = {
    "format": {"format": "png"},
    "masks": {"masks": "none"},
    "scales": {"scales": "0.5,0.75"},
    "flip": {"flip": "true"},
    "tiles": {"tiles": "2"},
    "refine": {"refine": "none"},
    "bands": {"bands": "3,2,1"},
    "range": {"range": "100,200"},
    "classes": {"classes": "dog,15"},
    "min_score": {"min_score": "0.99"},
    "components": {"components": "true"},
    "alpha": {"format": "overlay", "alpha": "1"},
    "tolerance": {"masks": "polygons", "tolerance": "5"},
    "uncertainty": {"format": "uncertainty", "uncertainty": "entropy"},
    "y_axis": {"format": "geojson", "y_axis": "up"},
    "image_name": {"format": "coco", "image_name": "cat.jpg"},
}
#: Options without another value to try: that of `refine` needs the dense CRF, which is an extra.
WITHOUT_CHANGE = {"refine"}


@pytest.fixture(scope="module")
def plain(server: Server, thumbnail: bytes) -> bytes:
    """Return the answer without any option."""
    return post(server, thumbnail).content


def test_the_table_covers_every_option() -> None:
    assert set(CHANGES) == {*InferenceOptions.model_fields, *AnswerOptions.model_fields}


@pytest.fixture(scope="module")
def two_cats(thumbnail: bytes) -> bytes:
    """Return a picture with two connected parts of one class: the cat above itself, with grey between."""
    cat = np.asarray(Image.open(io.BytesIO(thumbnail)))
    return encode(np.concatenate([cat, np.full((20, *cat.shape[1:]), 128, np.uint8), cat]))


@pytest.fixture(scope="module")
def quick(server: Server, two_cats: bytes) -> bytes:
    return post(server, two_cats, QUICK_HEADERS).content


@pytest.mark.parametrize("option", CHANGES)
def test_an_option_has_the_same_effect_on_every_route(server: Server, two_cats: bytes, quick: bytes, option: str) -> None:
    answers = {name: call(server, two_cats, {**QUICK, **CHANGES[option]}) for name, call in routes_of(server).items()}

    assert [name for name, answer in answers.items() if answer != answers["headers"]] == []
    assert (answers["headers"] != quick) == (option not in WITHOUT_CHANGE)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("options", [{"format": "svg"}, {"colour": "red"}], ids=["bad value", "unknown option"])
def test_a_bad_option_is_refused_on_every_route(server: Server, thumbnail: bytes, route: str, options: dict[str, str]) -> None:
    if route not in routes_of(server):
        pytest.skip(f"{server.software} has no route by {route}")
    if route == "KServe v2":
        tensor = {"name": "photo", "shape": [1], "datatype": "BYTES", "data": ["eA=="], "parameters": options}
        body = requests.post(kserve_v2_url(server), json={"inputs": [tensor]}, timeout=TIMEOUT_S).content
    else:
        body = ROUTES[route](server, thumbnail, options)

    assert error_in(body) == (400, "InvalidOption")
    assert next(iter(options)) in json.loads(body)["message"]


@pytest.mark.parametrize("name", FORMATS)
def test_url_and_header_select_the_same_format(server: Server, thumbnail: bytes, name: str) -> None:
    by_url = post(server, thumbnail, QUICK_HEADERS, f"/1.0/{name}")
    by_header = post(server, thumbnail, {**QUICK_HEADERS, "X-Segment-Format": name})

    assert by_url.status_code == 200
    assert by_url.headers["content-type"] == by_header.headers["content-type"] == FORMATS[name].content_type
    assert by_url.content == by_header.content


@pytest.mark.parametrize("content_type", sorted({entry.content_type for entry in FORMATS.values()}))
def test_accept_selects_the_first_format_of_a_content_type(server: Server, thumbnail: bytes, content_type: str) -> None:
    first = next(name for name, entry in FORMATS.items() if entry.content_type == content_type)

    response = post(server, thumbnail, {**QUICK_HEADERS, "Accept": content_type})

    assert response.headers["content-type"] == content_type
    assert response.content == post(server, thumbnail, {**QUICK_HEADERS, "X-Segment-Format": first}).content


@pytest.mark.parametrize(
    ("accept", "url", "header", "field", "expected"),
    [
        ("image/jpeg", None, None, None, "image/jpeg"),
        ("image/jpeg", "npz", None, None, "application/x-npz"),
        ("image/jpeg", "npz", "png", None, "image/png"),
        ("image/jpeg", "npz", "png", "json", "application/json"),
        (None, "npz", None, "png", "image/png"),
        ("image/jpeg", None, "png", None, "image/png"),
    ],
)
def test_form_fields_override_headers_urls_and_accept(
    server: Server, thumbnail: bytes, accept: str | None, url: str | None, header: str | None, field: str | None, expected: str
) -> None:
    headers = QUICK_HEADERS | {name: value for name, value in (("Accept", accept), ("X-Segment-Format", header)) if value}
    path = f"/1.0/{url}" if url else ""

    response = requests.post(
        server.url + path,
        files={"data": thumbnail},
        data={"format": field} if field else None,
        headers=headers,
        timeout=TIMEOUT_S,
    )

    assert (response.status_code, response.headers["content-type"]) == (200, expected)


@pytest.mark.parametrize("header", ["x-segment-min-score", "X-SEGMENT-MIN-SCORE", "X-sEgMeNt-mIn_ScOrE"])
def test_option_headers_ignore_case_and_separators(server: Server, thumbnail: bytes, header: str) -> None:
    assert post(server, thumbnail, {**QUICK_HEADERS, header: "1"}).json()["segments"] == []


def test_option_headers_may_be_utf_8(server: Server, thumbnail: bytes) -> None:
    response = requests.post(server.url, thumbnail, headers={"X-Segment-Classes": "träd".encode()}, timeout=TIMEOUT_S)

    assert error(response) == (400, "InvalidOption")
    assert "there is no class 'träd'" in response.json()["message"]


@pytest.mark.parametrize("name", ["explain", "Explain", "describe", "Describe", "URL_PATH", "url_path"])
def test_torchserves_internal_headers_are_ignored(server: Server, thumbnail: bytes, plain: bytes, name: str) -> None:
    assert post(server, thumbnail, {name: "png" if "path" in name.lower() else "True"}).content == plain


def test_index_and_palette_pngs_have_the_same_values(server: Server, thumbnail: bytes) -> None:
    index = Image.open(io.BytesIO(post(server, thumbnail, QUICK_HEADERS, "/1.0/index").content))

    assert index.mode == "L"
    np.testing.assert_array_equal(np.asarray(index), mask(post(server, thumbnail, QUICK_HEADERS, "/1.0/png")))


def test_confidence_is_the_probability_of_the_predicted_class(server: Server, thumbnail: bytes) -> None:
    levels = np.asarray(Image.open(io.BytesIO(post(server, thumbnail, path="/1.0/confidence").content)))
    answer = post(server, thumbnail, {"X-Segment-Masks": "none"}).json()

    mean = sum(segment["score"] * segment["fraction"] for segment in answer["segments"])
    assert levels.mean() / 255 == pytest.approx(mean, abs=0.003)


def test_uncertainty_is_high_where_confidence_is_low(server: Server, thumbnail: bytes) -> None:
    confidence, uncertainty = (
        Image.open(io.BytesIO(post(server, thumbnail, path=f"/1.0/{name}").content)) for name in ("confidence", "uncertainty")
    )

    assert uncertainty.info["uncertainty"] == "margin"
    assert uncertainty.size == confidence.size
    # 1 minus the lead is between 1 - p and 2 · (1 - p), for the probability p of the first class; the grids differ.
    lower, levels = 1 - np.asarray(confidence) / 255, np.asarray(uncertainty) / 255
    assert (np.maximum(lower - levels, levels - 2 * lower) > 0.1).mean() < 0.01


def test_numpy_reads_npz_without_pickles(server: Server, thumbnail: bytes) -> None:
    with np.load(io.BytesIO(post(server, thumbnail, path="/1.0/npz").content), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["label_map"], mask(post(server, thumbnail, path="/1.0/png")))
        assert arrays["probabilities"].shape[0] == len(arrays["classes"]) == len(arrays["palette"]) == 21
        assert arrays["classes"][8] == "cat"
        assert arrays["model"].tolist() == ["deeplabv3", "1.0"]


def test_unrequested_classes_become_background(server: Server, thumbnail: bytes) -> None:
    (segment,) = post(server, thumbnail, {"X-Segment-Classes": "dog", "X-Segment-Masks": "none"}).json()["segments"]

    assert (segment["label"], segment["fraction"]) == ("background", 1)


@pytest.mark.parametrize("masks", ["rle", "png", "polygons", "none"])
def test_masks_have_the_requested_encoding(server: Server, thumbnail: bytes, masks: str) -> None:
    first = post(server, thumbnail, {"X-Segment-Masks": masks}).json()["segments"][0]

    assert first["label"] == "cat"
    assert set(first.get("mask", {})) == {"rle": {"size", "counts"}, "none": set()}.get(masks, {"size", masks})


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", ["", "/1.0", "/1.0/json"])
def test_post_and_put_accept_a_version_and_a_format_in_the_path(
    server: Server, thumbnail: bytes, plain: bytes, method: str, path: str
) -> None:
    assert requests.request(method, server.url + path, data=thumbnail, timeout=TIMEOUT_S).content == plain


def test_a_version_that_is_not_served_is_404(server: Server, thumbnail: bytes) -> None:
    assert post(server, thumbnail, path="/9.9").status_code == 404


@pytest.mark.parametrize("content_type", ["application/octet-stream", "image/png", "image/jpeg", "video/mp4", ""])
def test_the_content_type_of_an_image_is_ignored(server: Server, thumbnail: bytes, plain: bytes, content_type: str) -> None:
    assert post(server, thumbnail, {"Content-Type": content_type}).content == plain


@pytest.mark.parametrize(
    ("arguments", "torchserve_status"),
    [
        (["-T", "{file}"], 200),
        (["-F", "data=@{file}"], 200),
        (["-F", "image=@{file}", "-F", "format=json"], 200),
        (["--data-binary", "@{file}", "-H", "Content-Type: image/png"], 200),
        # TorchServe's front end takes it for a form, as curl declares, and answers itself; our server inspects it.
        (["--data-binary", "@{file}"], 500),
    ],
)
def test_every_way_curl_uploads_files_is_understood(
    server: Server, thumbnail: bytes, plain: bytes, tmp_path: Path, arguments: list[str], torchserve_status: int
) -> None:
    status = torchserve_status if server.software == "torchserve" else 200
    file, answer = tmp_path / "photo.png", tmp_path / "answer"
    file.write_bytes(thumbnail)
    upload = [argument.format(file=file) for argument in arguments]

    command = ["curl", "-sS", "-o", str(answer), "-w", "%{http_code}", *upload, server.url]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert int(result.stdout) == status
    assert (answer.read_bytes() == plain) == (status == 200)


def test_option_values_of_megabytes_are_400_and_kill_no_worker(server: Server, thumbnail: bytes) -> None:
    before = server.workers()

    responses = [
        requests.post(server.url, files={"data": thumbnail}, data={name: value}, timeout=TIMEOUT_S)
        for name, value in (("format", "\x01" * 8_000_000), ("classes", "1," * 4_000_000), ("scales", "0.5," * 2_000_000))
    ]

    assert [error(response) for response in responses] == [(400, "InvalidOption")] * 3
    assert max(len(response.content) for response in responses) < 2000
    assert [worker["pid"] for worker in server.workers()] == [worker["pid"] for worker in before]


@pytest.mark.parametrize("depth", [800, 100_000])
def test_deeply_nested_json_is_400(server: Server, depth: int) -> None:
    body = '{"data": "eA==", "format": ' + "[" * depth + "]" * depth + "}"

    response = requests.post(server.url, body, headers={"Content-Type": "application/json"}, timeout=TIMEOUT_S)

    assert error(response)[0] == 400


@pytest.mark.parametrize("url", [kserve_v1_url, kserve_v2_url])
def test_kserve_paths_accept_plain_images(server: Server, thumbnail: bytes, plain: bytes, url: Callable[[Server], str]) -> None:
    assert requests.post(url(server), thumbnail, timeout=TIMEOUT_S).content == plain


@pytest.mark.parametrize("name", ["file", "photo[]", "image_bytes"])
@pytest.mark.parametrize("value", ["file", "base64", "data URI"])
def test_the_only_file_of_a_form_is_the_image(server: Server, thumbnail: bytes, plain: bytes, name: str, value: str) -> None:
    text = base64.b64encode(thumbnail)
    content = {"file": thumbnail, "base64": text, "data URI": b"data:image/png;base64," + text}[value]

    assert requests.post(server.url, files={name: content}, timeout=TIMEOUT_S).content == plain


def test_base64_in_a_form_needs_no_percent_encoding(server: Server, thumbnail: bytes, plain: bytes) -> None:
    text = base64.b64encode(thumbnail)
    assert b"+" in text  # An urlencoded form reads it as a space.

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert requests.post(server.url, b"data=" + text, headers=headers, timeout=TIMEOUT_S).content == plain


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
        ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    ],
)
def test_a_body_may_be_compressed(
    server: Server, thumbnail: bytes, plain: bytes, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    assert post(server, compress(thumbnail), {"Content-Encoding": encoding}).content == plain


@pytest.mark.parametrize(
    ("encoding", "body", "expected", "word"),
    [
        ("br", b"x", (415, "UnsupportedEncoding"), "'br'"),
        ("gzip", gzip.compress(bytes(32_000_001)), (413, "ImageTooLarge"), "32,000,000"),
        ("gzip", gzip.compress(b"x" * 99)[:-1], (400, "InvalidRequest"), "truncated"),
        ("gzip", b"not compressed", (400, "InvalidRequest"), "'gzip'"),
        ("deflate", zlib.compress(b"x") + b"..", (400, "InvalidRequest"), "2 bytes after"),
    ],
    ids=["unknown", "bomb", "truncated", "garbage", "trailing"],
)
def test_a_body_that_cannot_be_decompressed_is_refused(
    server: Server, encoding: str, body: bytes, expected: tuple[int, str], word: str
) -> None:
    response = post(server, body, {"Content-Encoding": encoding})

    assert error(response) == expected
    assert word in response.json()["message"]


@pytest.mark.parametrize("kind", ["multipart", "urlencoded"])
def test_a_compressed_form_is_read_or_refused(server: Server, thumbnail: bytes, plain: bytes, kind: str) -> None:
    image = {"data": base64.b64encode(thumbnail)} if kind == "urlencoded" else None
    form = requests.Request("POST", server.url, data=image, files=None if image else {"data": thumbnail}).prepare()
    content = form.body if isinstance(form.body, bytes) else str(form.body).encode()
    headers = {"Content-Type": form.headers["Content-Type"], "Content-Encoding": "gzip"}

    response = requests.post(server.url, gzip.compress(content), headers=headers, timeout=TIMEOUT_S)

    if server.software == "asgi":
        assert response.content == plain
    elif kind == "multipart":  # TorchServe's front end reads no field of it.
        assert error(response) == (400, "InvalidRequest")
        assert "send forms without Content-Encoding" in response.json()["message"]
    else:  # TorchServe's front end fails to parse it, or reads fields in it that are not there.
        assert not response.ok

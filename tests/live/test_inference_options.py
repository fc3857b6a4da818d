"""Scales, mirror images and refinement, by header and by form."""

import io
import json
from pathlib import Path

import pytest
import requests
from PIL import Image

from scripts.server import Server
from tests.live.client import TIMEOUT_S, error, mask, post, segments

PNG = {"X-Segment-Format": "png"}
CAT = 8


def post_form(server: Server, photo: bytes, **options: str) -> requests.Response:
    return requests.post(server.url, files={"data": photo}, data=options, timeout=TIMEOUT_S)


@pytest.fixture
def cat(photos: dict[str, Path]) -> bytes:
    return photos["chelsea"].read_bytes()


def test_explicit_defaults_do_not_change_the_answer(server: Server, cat: bytes) -> None:
    defaults = {"X-Segment-Scales": "1", "X-Segment-Flip": "false", "X-Segment-Refine": "none"}

    assert post(server, cat, defaults).content == post(server, cat).content


def test_headers_and_form_fields_are_equivalent(server: Server, cat: bytes) -> None:
    by_header = post(server, cat, {"X-Segment-Scales": "0.75, 1,1.25", "X-Segment-Flip": "true"})
    by_form = post_form(server, cat, scales="0.75,1,1.25", flip="true")

    assert by_header.content == by_form.content
    assert by_header.content != post(server, cat).content
    assert segments(by_header)["cat"]["score"] > 0.8


def test_with_flip_a_mirrored_photograph_has_the_mirrored_mask(server: Server, cat: bytes) -> None:
    with Image.open(io.BytesIO(cat)) as photo:
        mirrored_photo = photo.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    file = io.BytesIO()
    mirrored_photo.save(file, "PNG")
    headers = {**PNG, "X-Segment-Flip": "true"}

    plain, mirrored = mask(post(server, cat, headers)), mask(post(server, file.getvalue(), headers))

    assert (plain == CAT).any()
    assert (mirrored[:, ::-1] == plain).mean() > 0.99


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("scales", "9", ["9", "0.25", "2", "0.75,1,1.25"]),
        ("scales", "0.5,0.6,0.7,0.8,0.9,1,1.1", ["7", "6", "0.75,1,1.25"]),
        ("flip", "perhaps", ["'perhaps'", "true", "false"]),
        ("refine", "crv", ["'crv'", "'crf'", "none"]),
    ],
)
def test_a_bad_value_is_400_with_the_allowed_values(
    server: Server, cat: bytes, option: str, value: str, words: list[str]
) -> None:
    responses = [post(server, cat, {f"X-Segment-{option}": value}), post_form(server, cat, **{option: value})]

    assert [error(response) for response in responses] == [(400, "InvalidOption")] * 2
    (message,) = {response.json()["message"] for response in responses}
    assert [word for word in [option, *words] if word not in message] == []


def test_a_request_over_the_inference_limit_is_413_with_the_limit(server: Server, photos: dict[str, Path]) -> None:
    response = post_form(server, photos["astronaut"].read_bytes(), scales="1.5,1.6,1.7,1.8,1.9,2", flip="true", tiles="2")

    assert error(response) == (413, "InferenceTooLarge")
    assert "8,000,000" in response.json()["message"]


def test_a_dense_crf_refines_masks_and_reports_its_duration(server: Server, cat: bytes) -> None:
    pytest.importorskip("pydensecrf")

    as_json, as_png = post(server, cat, {"X-Segment-Refine": "crf"}), post_form(server, cat, refine="crf", format="png")

    assert segments(as_json)["cat"]["fraction"] > 0.4
    refine = as_json.json()["refine"]
    assert refine["method"] == "crf"
    assert 0 < refine["seconds"] < TIMEOUT_S
    assert (mask(as_png) != mask(post(server, cat, PNG))).any()
    assert json.loads(Image.open(io.BytesIO(as_png.content)).info["refine"])["method"] == "crf"
    metrics = requests.get(server.metrics_url, timeout=TIMEOUT_S).text
    assert 'deeplab_stage_duration_seconds_count{model="deeplabv3",stage="refine"' in metrics

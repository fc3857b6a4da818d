"""Answers to photographs."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from pycocotools import mask as coco

from scripts.server import Server
from tests.live.client import TIMEOUT_S, mask, post, segments
from tests.support import AS_STORED, encode

PNG = {"X-Segment-Format": "png"}
#: For tests that do not depend on the labels: the network takes a sixteenth of the time.
QUICK = {"X-Segment-Scales": "0.25"}
CAT, PERSON = 8, 15


def test_the_cat_is_labelled_cat(server: Server, photos: dict[str, Path]) -> None:
    labelled = segments(post(server, photos["chelsea"].read_bytes()))

    assert max(labelled.values(), key=lambda segment: segment["pixels"])["label"] == "cat"
    assert labelled["cat"]["score"] > 0.8
    assert 0.4 < labelled["cat"]["fraction"] < 0.95


def test_the_astronaut_is_labelled_person(server: Server, photos: dict[str, Path]) -> None:
    labels = mask(post(server, photos["astronaut"].read_bytes(), PNG))

    assert labels.shape == (512, 512)
    assert labels[100, 220] == PERSON
    assert labels[400, 250] == PERSON
    assert labels[50, 480] != PERSON


def test_json_and_png_have_the_same_labels(server: Server, photos: dict[str, Path]) -> None:
    photo = photos["chelsea"].read_bytes()
    labels = mask(post(server, photo, PNG))
    answer = post(server, photo).json()

    assert answer["image"] == {"width": 451, "height": 300}
    rebuilt = np.full(labels.shape, 255, np.uint8)
    for segment in answer["segments"]:
        run_lengths = {"size": segment["mask"]["size"], "counts": segment["mask"]["counts"].encode()}
        rebuilt[coco.decode(run_lengths).astype(bool)] = segment["index"]
        x, y, width, height = segment["bbox"]
        assert (labels[y : y + height, x : x + width] == segment["index"]).sum() == segment["pixels"]
    np.testing.assert_array_equal(rebuilt, labels)
    assert sum(segment["pixels"] for segment in answer["segments"]) == labels.size
    assert answer["segments"][-1]["label"] == "background"


def test_class_names_and_palette_come_from_the_archive(server: Server, photos: dict[str, Path]) -> None:
    response = post(server, photos["chelsea"].read_bytes(), PNG)

    picture = Image.open(io.BytesIO(response.content))
    names = json.loads(picture.info["classes"])
    assert (len(names), names[CAT], names[PERSON]) == (21, "cat", "person")
    assert picture.convert("RGB").getpixel((225, 150)) == (64, 0, 0)


def test_the_overlay_is_the_tinted_photograph(server: Server, photos: dict[str, Path]) -> None:
    response = post(server, photos["chelsea"].read_bytes(), {"X-Segment-Format": "overlay"})

    assert response.headers["content-type"] == "image/jpeg"
    overlay = np.asarray(Image.open(io.BytesIO(response.content))).astype(int)
    photo = np.asarray(Image.open(photos["chelsea"])).astype(int)
    assert overlay.shape == photo.shape
    tinted = (photo[150, 225] + (64, 0, 0)) / 2
    assert np.abs(overlay[150, 225] - tinted).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_gives_an_upright_mask(server: Server, photos: dict[str, Path], orientation: int) -> None:
    with Image.open(photos["chelsea"]) as photo:
        upright = photo.convert("RGB")
    stored = upright.transpose(AS_STORED[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation

    rotated = mask(post(server, encode(stored, "PNG", exif=exif), PNG | QUICK))
    plain = mask(post(server, encode(upright), PNG | QUICK))

    np.testing.assert_array_equal(rotated, plain)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 1000), (37, 53), (1500, 2000)])
def test_the_mask_has_the_size_of_the_image(server: Server, photos: dict[str, Path], size: tuple[int, int]) -> None:
    with Image.open(photos["astronaut"]) as photo:
        image = photo.convert("RGB").resize((size[1], size[0]))

    assert mask(post(server, encode(image), PNG | QUICK)).shape == size


@pytest.mark.parametrize("field", ["data", "image", "body"])
def test_a_form_and_raw_bytes_give_the_same_answer(server: Server, photos: dict[str, Path], field: str) -> None:
    photo = photos["chelsea"].read_bytes()

    response = requests.post(server.url, files={field: ("cat.jpg", photo)}, data={"format": "png"}, timeout=TIMEOUT_S)

    np.testing.assert_array_equal(mask(response), mask(post(server, photo, PNG)))


def test_put_and_post_give_the_same_answer(server: Server, photos: dict[str, Path]) -> None:
    photo = photos["chelsea"].read_bytes()

    assert requests.put(server.url, data=photo, timeout=TIMEOUT_S).content == post(server, photo).content


@pytest.mark.parametrize(
    ("headers", "path", "content_type"),
    [
        ({}, "", "application/json"),
        ({"Accept": "image/png"}, "", "image/png"),
        ({"Accept": "image/jpeg"}, "", "image/jpeg"),
        ({"Accept": "image/png", "x-segment-format": "overlay"}, "", "image/jpeg"),
        ({"Accept": "image/png"}, "/1.0/json", "application/json"),
    ],
)
def test_header_url_or_accept_selects_the_format(
    server: Server, photos: dict[str, Path], headers: dict[str, str], path: str, content_type: str
) -> None:
    response = post(server, photos["chelsea"].read_bytes(), QUICK | headers, path)

    assert (response.status_code, response.headers["content-type"]) == (200, content_type)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_accepted_file_format_is_decoded(server: Server, photos: dict[str, Path], file_format: str) -> None:
    with Image.open(photos["chelsea"]) as photo:
        labelled = segments(post(server, encode(photo.convert("RGB"), file_format)))

    assert "cat" in labelled

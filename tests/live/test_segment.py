"""The client with a real server."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handler.answers import FORMATS
from scripts.segment.__main__ import main
from scripts.server import Server
from tests.live.client import mask, post
from tests.support import encode

Segment = Callable[..., int]


@pytest.fixture
def folder(photos: dict[str, Path], tmp_path: Path) -> Path:
    """Return a folder with the sample photographs and, in a subfolder, `chelsea` turned by its EXIF orientation."""
    below = tmp_path / "photos" / "below"
    below.mkdir(parents=True)
    for photo in photos.values():
        (below.parent / photo.name).write_bytes(photo.read_bytes())
    exif = Image.Exif()
    exif[0x0112] = 8
    with Image.open(photos["chelsea"]) as cat:
        (below / "turned.jpg").write_bytes(encode(cat, "JPEG", exif=exif))
    return below.parent


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def segment(server: Server, folder: Path, out: Path) -> Segment:
    return lambda *arguments: main([str(folder), "--out", str(out), "--url", server.url, *arguments])


def test_masks_of_a_folder_equal_those_of_single_requests(segment: Segment, server: Server, folder: Path, out: Path) -> None:
    assert segment() == 0

    for name in ("astronaut", "chelsea", "below/turned"):
        expected = mask(post(server, (folder / f"{name}.jpg").read_bytes(), {"Accept": "image/png"}))
        with Image.open(out / f"{name}.png") as answer:
            np.testing.assert_array_equal(np.asarray(answer), expected)
    with Image.open(out / "contact-sheet.jpg") as sheet:
        assert min(sheet.size) > 100


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_is_written_with_its_suffix(segment: Segment, out: Path, format_name: str) -> None:
    # The network takes a sixteenth of the time.
    assert segment("--format", format_name, "--option", "scales=0.25") == 0

    assert {path.suffix for path in out.glob("[a-b]*/*")} == {FORMATS[format_name].suffix}


def test_options_are_sent_to_the_server(segment: Segment, server: Server, folder: Path, out: Path) -> None:
    assert segment("--option", "scales=0.5,1", "--option", "flip=true") == 0

    headers = {"Accept": "image/png", "X-Segment-Scales": "0.5,1", "X-Segment-Flip": "true"}
    expected = mask(post(server, (folder / "chelsea.jpg").read_bytes(), headers))
    with Image.open(out / "chelsea.png") as answer:
        np.testing.assert_array_equal(np.asarray(answer), expected)


def test_a_bad_option_is_reported_once_with_the_servers_message(
    segment: Segment, server: Server, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--option", "scales=9") == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {server.url}: answered 400: option 'scales': ")
    assert not out.exists()


def test_an_unknown_model_ends_the_run(server: Server, folder: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--out", str(out), "--url", server.url.replace("deeplabv3", "no-such")]) == 1

    error = capsys.readouterr().err
    assert "404" in error
    assert "no-such" in error


def test_the_next_run_retries_only_failed_photographs(
    segment: Segment, folder: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (folder / "chelsea.jpg").read_bytes()
    (folder / "chelsea.jpg").write_bytes(content[:1000])

    assert segment() == 1
    assert (out / "failed.txt").read_text().startswith(f"{folder / 'chelsea.jpg'}: answered 400: the image cannot be decoded")
    assert capsys.readouterr().out.startswith("2 done, 0 skipped (done before), 1 failed; ")

    (folder / "chelsea.jpg").write_bytes(content)
    assert segment() == 0
    assert capsys.readouterr().out.startswith("1 done, 2 skipped (done before), 0 failed; ")
    assert not (out / "failed.txt").exists()


def test_a_file_over_torchserves_limit_is_reported_with_413(segment: Segment, folder: Path, out: Path) -> None:
    (folder / "huge.bmp").write_bytes(bytes(40_000_000))

    assert segment() == 1

    assert (out / "failed.txt").read_text() == f"{folder / 'huge.bmp'}: answered 413\n"

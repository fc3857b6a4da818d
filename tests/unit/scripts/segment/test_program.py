import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from handler.answers import FORMATS
from scripts.segment.__main__ import main
from scripts.server import Ports
from tests.local_server import Asked, LocalServer, Reply, local_server
from tests.support import ROOT, encode, noise

MASK = encode(Image.new("P", (16, 12), 1))
BROKEN = b"nothing"
REFUSED = Reply(400, b'{"code":400,"type":"InvalidImage","message":"not an image"}', "application/json")


def answer(asked: Asked) -> Reply:
    return REFUSED if asked.image == BROKEN else Reply(body=MASK)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server(answer) as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write three photographs, one of them in a subfolder."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.png", "deep/c.webp")):
        (folder / name).write_bytes(encode(noise(12, 16 + number), "PNG"))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def segment(server: LocalServer, photos: Path, out: Path) -> Callable[..., int]:
    """Segment the photographs, or other inputs, with further arguments."""

    def run(*arguments: str, inputs: list[Path] | None = None) -> int:
        return main([*map(str, inputs or [photos]), "--out", str(out), "--url", server.url, *arguments])

    return run


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


OWN = {".segment.json", "contact-sheet.jpg"}
MASKS = {"a.png", "b.png", "deep/c.png"}


def test_each_photograph_gets_its_mask(segment: Callable[..., int], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment() == 0

    assert tree(out) == MASKS | OWN
    assert all((out / name).read_bytes() == MASK for name in MASKS)
    printed = capsys.readouterr()
    assert printed.out.startswith("3 done, 0 skipped (done before), 0 failed; ")
    assert printed.out.splitlines()[1] == f"contact sheet: {out / 'contact-sheet.jpg'}"
    assert printed.err == ""


def test_format_and_options_are_sent(segment: Callable[..., int], server: LocalServer) -> None:
    segment("--format", "index", "--option", "scales=0.75,1", "--option", "Classes=猫,a=b")

    assert {tuple(sorted(asked.options.items())) for asked in server.asked} == {
        (("classes", "猫,a=b"), ("format", "index"), ("scales", "0.75,1"))
    }


@pytest.mark.parametrize("format_name", ["coco", "coco_panoptic", "labelme"])
def test_each_file_is_sent_with_its_own_name(
    segment: Callable[..., int], server: LocalServer, photos: Path, format_name: str
) -> None:
    (photos / "Grüße 猫.jpg").write_bytes(encode(noise(12, 30), "PNG"))
    (photos / "two\nlines.jpg").write_bytes(encode(noise(12, 31), "PNG"))

    server.reply = lambda _: Reply(content_type=FORMATS[format_name].content_type)

    assert segment("--format", format_name) == 0

    names = sorted(asked.options.get("image_name", "?") for asked in server.asked)
    assert names == ["?", "Grüße 猫.jpg", "a.jpg", "b.png", "c.webp"]


def test_a_name_that_the_user_gives_replaces_the_files(segment: Callable[..., int], server: LocalServer) -> None:
    server.reply = lambda _: Reply(content_type=FORMATS["coco"].content_type)

    assert segment("--format", "coco", "--option", "Image_Name=cat.jpg") == 0

    assert {tuple(sorted(asked.options.items())) for asked in server.asked} == {(("format", "coco"), ("image_name", "cat.jpg"))}


def test_headers_are_sent(segment: Callable[..., int], server: LocalServer) -> None:
    segment("--header", "Authorization: Bearer a:b")

    assert {asked.headers["Authorization"] for asked in server.asked} == {"Bearer a:b"}


def test_what_is_done_is_not_asked_for_again(
    segment: Callable[..., int], server: LocalServer, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment()
    (out / "a.png").unlink()
    capsys.readouterr()

    assert segment() == 0

    assert len(server.asked) == 4
    assert capsys.readouterr().out.startswith("1 done, 2 skipped (done before), 0 failed; ")


def test_what_is_done_needs_no_server(segment: Callable[..., int]) -> None:
    segment()

    assert segment("--url", f"http://127.0.0.1:{Ports.free().inference}/predictions/deeplabv3") == 0


def test_it_can_be_asked_for_again(segment: Callable[..., int], server: LocalServer, out: Path) -> None:
    segment()
    (out / "a.png").write_bytes(b"old")

    assert segment("--overwrite") == 0

    assert len(server.asked) == 6
    assert (out / "a.png").read_bytes() == MASK


def test_one_that_fails_leaves_the_others(
    segment: Callable[..., int], photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "b.png").write_bytes(BROKEN)

    assert segment() == 1

    assert tree(out) == MASKS - {"b.png"} | OWN | {"failed.txt"}
    line = f"{photos / 'b.png'}: answered 400: not an image\n"
    assert (out / "failed.txt").read_text() == line
    printed = capsys.readouterr()
    assert printed.err == line
    assert printed.out.startswith("2 done, 0 skipped (done before), 1 failed; ")


def test_what_failed_is_tried_again_and_struck_off_the_list(segment: Callable[..., int], photos: Path, out: Path) -> None:
    (photos / "b.png").write_bytes(BROKEN)
    segment()
    (photos / "b.png").write_bytes(encode(noise(9, 9)))

    assert segment() == 0

    assert tree(out) == MASKS | OWN


def test_a_photograph_that_cannot_be_read_fails_alone(segment: Callable[..., int], photos: Path, out: Path) -> None:
    (photos / "gone.jpg").symlink_to("nowhere")

    assert segment() == 1

    assert (out / "failed.txt").read_text() == f"{photos / 'gone.jpg'}: cannot be read: No such file or directory\n"
    assert tree(out) >= MASKS


def test_long_lists_of_failures_are_printed_in_part(
    segment: Callable[..., int], photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(30):
        (photos / f"{number}.jpg").write_bytes(BROKEN)

    assert segment("--no-contact-sheet") == 1

    assert capsys.readouterr().err.splitlines()[20:] == [f"and 10 more, listed in {out / 'failed.txt'}"]
    assert len((out / "failed.txt").read_text().splitlines()) == 30


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (400, "InvalidOption", "option 'scales': '9' is above 2.0"),
        (401, "Unauthorized", "who are you"),
        (404, "ModelNotFoundException", "Model not found: deeplabv4"),
    ],
)
def test_what_all_would_meet_ends_the_run_and_is_said_once(
    photos: Path, out: Path, capsys: pytest.CaptureFixture[str], status: int, kind: str, message: str
) -> None:
    for number in range(50):
        (photos / f"{number}.jpg").write_bytes(encode(noise(9, 9)))
    body = json.dumps({"code": status, "type": kind, "message": message}).encode()

    with local_server(lambda _: Reply(status, body, "application/json")) as server:
        assert main([str(photos), "--out", str(out), "--url", server.url, "--retries", "0"]) == 1

    assert len(server.asked) <= 10
    printed = capsys.readouterr()
    assert printed.err == f"error: {server.url}: answered {status}: {message}; nothing more was sent\n"
    assert not out.exists()


def test_after_a_wrong_option_the_right_one_may_be_given(photos: Path, out: Path) -> None:
    wrong = Reply(400, b'{"code":400,"type":"InvalidOption","message":"no"}', "application/json")

    with local_server(lambda asked: wrong if asked.options.get("scales") == "9" else Reply(body=MASK)) as server:
        arguments = [str(photos), "--out", str(out), "--url", server.url, "--retries", "0", "--option"]

        assert main([*arguments, "scales=9"]) == 1
        assert main([*arguments, "scales=1"]) == 0


def test_a_full_queue_is_waited_for(photos: Path, out: Path) -> None:
    with local_server(lambda asked: Reply(503) if asked.attempt == 1 else Reply(body=MASK)) as server:
        assert main([str(photos), "--out", str(out), "--url", server.url]) == 0

    assert len(server.asked) == 6


def test_answers_to_another_question_are_not_taken_for_these(
    segment: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    segment()
    capsys.readouterr()

    assert segment("--format", "index") == 1

    assert "holds answers to another request" in capsys.readouterr().err


def test_answers_may_lie_among_the_photographs(server: LocalServer, photos: Path) -> None:
    for _ in range(2):
        assert main([str(photos), "--out", str(photos / "masks"), "--url", server.url]) == 0

    assert tree(photos / "masks") == MASKS | OWN
    assert len(server.asked) == 3


def test_two_answers_to_one_file_are_told_before_anything_is_sent(
    segment: Callable[..., int], server: LocalServer, photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a.png").write_bytes(encode(noise(9, 9)))

    assert segment() == 1

    assert f"{photos / 'a.jpg'} and {photos / 'a.png'}: {out / 'a.png'}" in capsys.readouterr().err
    assert not server.asked
    assert segment("--keep-suffix") == 0
    assert {"a.jpg.png", "a.png.png", "b.png.png", "deep/c.webp.png"} <= tree(out)


def test_answers_without_a_picture_get_no_contact_sheet(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({"image": {"width": 16, "height": 12}, "segments": [{"index": 0}]}).encode()

    with local_server(lambda _: Reply(body=body, content_type="application/json")) as server:
        assert main([str(photos), "--out", str(out), "--url", server.url, "--format", "json"]) == 0

    assert "no contact sheet: a.jpg: its masks are neither" in capsys.readouterr().out
    assert tree(out) == {"a.json", "b.json", "deep/c.json", ".segment.json"}


def test_the_contact_sheet_can_be_left_out(segment: Callable[..., int], out: Path) -> None:
    assert segment("--no-contact-sheet") == 0

    assert tree(out) == MASKS | {".segment.json"}


def test_without_a_server_it_says_how_to_start_one(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{Ports.free().inference}/predictions/deeplabv3"

    assert main([str(photos), "--out", str(out), "--url", url]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {url}: no answer (")
    assert line.endswith("start a server by `make serve`, or give the URL of one")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "--jobs: '0' must be a whole number, 1 or more"),
        (["--retries", "-1"], "--retries: '-1' must be a whole number, 0 or more"),
        (["--timeout", "0"], "--timeout: '0' must be a number of seconds"),
        (["--url", "127.0.0.1:8080"], "'127.0.0.1:8080' must be a URL such as http://127.0.0.1:8080/predictions/deeplabv3"),
        (["--format", "overlai"], "'overlai', did you mean 'overlay'? (known: json, png, "),
        (["--option", "scales"], "'scales': must be NAME=VALUE, such as scales=0.75,1"),
        (["--option", "format=json"], "--option format: is not an option of the server; use --format"),
        (["--option", "data=x"], "--option data: is not an option of the server; use FILES"),
        (["--option", "scales=1", "--option", "scales=2"], "--option scales: is given 2 times"),
        (["--header", "Authorization"], "'Authorization': must be 'NAME: VALUE'"),
        (["--header", "X: a\nY: b"], "must be 'NAME: VALUE'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], message: str, photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(photos), "--out", str(out), *arguments]) == 2

    assert message in capsys.readouterr().err


def test_inputs_that_are_not_there_are_named(segment: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert segment(inputs=[Path("missing.jpg")]) == 1

    assert capsys.readouterr().err == "error: missing.jpg: no such file or folder\n"


@contextmanager
def interruptible() -> Iterator[None]:
    """Let processes started in the block be interrupted, even if this one runs in the background and cannot be."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_interrupted_it_ends_at_once_and_keeps_what_is_done(photos: Path, out: Path) -> None:
    second, held = Event(), Event()

    def reply(asked: Asked) -> Reply:
        if asked.image == (photos / "a.jpg").read_bytes():
            return Reply(body=MASK)
        second.set()
        held.wait(60)
        return Reply(body=MASK)

    with local_server(reply) as server, interruptible():
        command = [sys.executable, "-m", "scripts.segment", str(photos), "--out", str(out), "--url", server.url, "--jobs", "1"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert second.wait(60)
                while not (out / "a.png").exists():  # Its request came earlier; it is being written.
                    assert process.poll() is None
                    time.sleep(0.01)
                os.kill(process.pid, signal.SIGINT)
                printed, told = process.communicate(timeout=60)
            finally:
                process.kill()
                held.set()

    assert process.returncode == 130
    assert tree(out) == {"a.png", ".segment.json"}
    assert printed.startswith("1 done, ")
    assert told == "error: interrupted; the same command continues from here\n"

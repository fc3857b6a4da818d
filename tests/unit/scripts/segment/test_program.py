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
from tests.local_server import LocalServer, PostedForm, Reply, local_server
from tests.support import ROOT, encode, noise

MASK = encode(Image.new("P", (16, 12), 1))
BROKEN = b"nothing"
REFUSED = Reply(400, b'{"code":400,"type":"InvalidImage","message":"not an image"}', "application/json")


def answer(form: PostedForm) -> Reply:
    return REFUSED if form.image == BROKEN else Reply(body=MASK)


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


RUN_FILES = {".segment.json", "contact-sheet.jpg"}
MASKS = {"a.png", "b.png", "deep/c.png"}


def test_each_photograph_gets_its_mask(segment: Callable[..., int], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment() == 0

    assert tree(out) == MASKS | RUN_FILES
    assert all((out / name).read_bytes() == MASK for name in MASKS)
    printed = capsys.readouterr()
    assert printed.out.startswith("3 done, 0 skipped (done before), 0 failed; ")
    assert printed.out.splitlines()[1] == f"contact sheet: {out / 'contact-sheet.jpg'}"
    assert printed.err == ""


def test_format_and_options_are_sent(segment: Callable[..., int], server: LocalServer) -> None:
    segment("--format", "index", "--option", "scales=0.75,1", "--option", "Classes=猫,a=b")

    assert {tuple(sorted(form.options.items())) for form in server.forms} == {
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

    names = sorted(form.options.get("image_name", "?") for form in server.forms)
    assert names == ["?", "Grüße 猫.jpg", "a.jpg", "b.png", "c.webp"]


def test_an_explicit_image_name_replaces_the_files_name(segment: Callable[..., int], server: LocalServer) -> None:
    server.reply = lambda _: Reply(content_type=FORMATS["coco"].content_type)

    assert segment("--format", "coco", "--option", "Image_Name=cat.jpg") == 0

    assert {tuple(sorted(form.options.items())) for form in server.forms} == {(("format", "coco"), ("image_name", "cat.jpg"))}


def test_headers_are_sent(segment: Callable[..., int], server: LocalServer) -> None:
    segment("--header", "Authorization: Bearer a:b")

    assert {form.headers["Authorization"] for form in server.forms} == {"Bearer a:b"}


def test_existing_answers_are_not_requested_again(
    segment: Callable[..., int], server: LocalServer, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment()
    (out / "a.png").unlink()
    capsys.readouterr()

    assert segment() == 0

    assert len(server.forms) == 4
    assert capsys.readouterr().out.startswith("1 done, 2 skipped (done before), 0 failed; ")


def test_a_finished_run_needs_no_server(segment: Callable[..., int]) -> None:
    segment()

    assert segment("--url", f"http://127.0.0.1:{Ports.free().inference}/predictions/deeplabv3") == 0


def test_overwrite_requests_all_answers_again(segment: Callable[..., int], server: LocalServer, out: Path) -> None:
    segment()
    (out / "a.png").write_bytes(b"old")

    assert segment("--overwrite") == 0

    assert len(server.forms) == 6
    assert (out / "a.png").read_bytes() == MASK


def test_a_failed_photograph_does_not_stop_the_others(
    segment: Callable[..., int], photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "b.png").write_bytes(BROKEN)

    assert segment() == 1

    assert tree(out) == MASKS - {"b.png"} | RUN_FILES | {"failed.txt"}
    line = f"{photos / 'b.png'}: answered 400: not an image\n"
    assert (out / "failed.txt").read_text() == line
    printed = capsys.readouterr()
    assert printed.err == line
    assert printed.out.startswith("2 done, 0 skipped (done before), 1 failed; ")


def test_failures_are_retried_and_removed_from_the_list(segment: Callable[..., int], photos: Path, out: Path) -> None:
    (photos / "b.png").write_bytes(BROKEN)
    segment()
    (photos / "b.png").write_bytes(encode(noise(9, 9)))

    assert segment() == 0

    assert tree(out) == MASKS | RUN_FILES


def test_an_unreadable_photograph_does_not_stop_the_others(segment: Callable[..., int], photos: Path, out: Path) -> None:
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
def test_an_error_of_every_request_ends_the_run_and_is_reported_once(
    photos: Path, out: Path, capsys: pytest.CaptureFixture[str], status: int, kind: str, message: str
) -> None:
    for number in range(50):
        (photos / f"{number}.jpg").write_bytes(encode(noise(9, 9)))
    body = json.dumps({"code": status, "type": kind, "message": message}).encode()

    with local_server(lambda _: Reply(status, body, "application/json")) as server:
        assert main([str(photos), "--out", str(out), "--url", server.url, "--retries", "0"]) == 1

    assert len(server.forms) <= 10
    printed = capsys.readouterr()
    assert printed.err == f"error: {server.url}: answered {status}: {message}; nothing more was sent\n"
    assert not out.exists()


def test_a_run_can_be_repeated_with_a_corrected_option(photos: Path, out: Path) -> None:
    invalid_option = Reply(400, b'{"code":400,"type":"InvalidOption","message":"no"}', "application/json")

    with local_server(lambda form: invalid_option if form.options.get("scales") == "9" else Reply(body=MASK)) as server:
        arguments = [str(photos), "--out", str(out), "--url", server.url, "--retries", "0", "--option"]

        assert main([*arguments, "scales=9"]) == 1
        assert main([*arguments, "scales=1"]) == 0


def test_a_full_queue_is_retried(photos: Path, out: Path) -> None:
    with local_server(lambda form: Reply(503) if form.attempt == 1 else Reply(body=MASK)) as server:
        assert main([str(photos), "--out", str(out), "--url", server.url]) == 0

    assert len(server.forms) == 6


def test_answers_to_another_request_are_not_reused(segment: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    segment()
    capsys.readouterr()

    assert segment("--format", "index") == 1

    assert "holds answers to another request" in capsys.readouterr().err


def test_the_output_folder_may_be_among_the_photographs(server: LocalServer, photos: Path) -> None:
    for _ in range(2):
        assert main([str(photos), "--out", str(photos / "masks"), "--url", server.url]) == 0

    assert tree(photos / "masks") == MASKS | RUN_FILES
    assert len(server.forms) == 3


def test_colliding_paths_are_reported_before_anything_is_sent(
    segment: Callable[..., int], server: LocalServer, photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a.png").write_bytes(encode(noise(9, 9)))

    assert segment() == 1

    assert f"{photos / 'a.jpg'} and {photos / 'a.png'}: {out / 'a.png'}" in capsys.readouterr().err
    assert not server.forms
    assert segment("--keep-suffix") == 0
    assert {"a.jpg.png", "a.png.png", "b.png.png", "deep/c.webp.png"} <= tree(out)


def test_answers_without_a_picture_get_no_contact_sheet(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({"image": {"width": 16, "height": 12}, "segments": [{"index": 0}]}).encode()

    with local_server(lambda _: Reply(body=body, content_type="application/json")) as server:
        assert main([str(photos), "--out", str(out), "--url", server.url, "--format", "json"]) == 0

    assert "no contact sheet: a.jpg: its masks are neither" in capsys.readouterr().out
    assert tree(out) == {"a.json", "b.json", "deep/c.json", ".segment.json"}


def test_the_contact_sheet_can_be_disabled(segment: Callable[..., int], out: Path) -> None:
    assert segment("--no-contact-sheet") == 0

    assert tree(out) == MASKS | {".segment.json"}


def test_an_unreachable_server_is_reported(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
def test_invalid_arguments_are_refused(
    arguments: list[str], message: str, photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(photos), "--out", str(out), *arguments]) == 2

    assert message in capsys.readouterr().err


def test_missing_inputs_are_reported(segment: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert segment(inputs=[Path("missing.jpg")]) == 1

    assert capsys.readouterr().err == "error: missing.jpg: no such file or folder\n"


@contextmanager
def interruptible() -> Iterator[None]:
    """Let processes started in the block be interrupted, even if this one ignores SIGINT in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_an_interrupted_run_ends_at_once_and_keeps_its_answers(photos: Path, out: Path) -> None:
    second_request, release = Event(), Event()

    def reply(form: PostedForm) -> Reply:
        if form.image == (photos / "a.jpg").read_bytes():
            return Reply(body=MASK)
        second_request.set()
        release.wait(60)
        return Reply(body=MASK)

    with local_server(reply) as server, interruptible():
        command = [sys.executable, "-m", "scripts.segment", str(photos), "--out", str(out), "--url", server.url, "--jobs", "1"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert second_request.wait(60)
                while not (out / "a.png").exists():  # Its request came earlier; it is being written.
                    assert process.poll() is None
                    time.sleep(0.01)
                os.kill(process.pid, signal.SIGINT)
                printed, errors = process.communicate(timeout=60)
            finally:
                process.kill()
                release.set()

    assert process.returncode == 130
    assert tree(out) == {"a.png", ".segment.json"}
    assert printed.startswith("1 done, ")
    assert errors == "error: interrupted; the same command continues from here\n"

import zipfile
from pathlib import Path

import numpy as np
import pytest

from handler.image_io import decode_image
from handler.settings import Limits
from model import CheckpointError
from model.strict import ConfigurationError
from scripts.evaluation.predictors import Averaging, PredictionError, ServerPredictor, load
from scripts.package import DEFAULT_MODEL_CONFIG, Recipe, build
from scripts.server import Ports
from tests.support import CLASSES, encode, noise, write_checkpoint

ONE_VIEW = Averaging()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(noise(41, 57), "JPEG"))
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "a.safetensors")


def write_archive(checkpoint: Path, **replaced: str) -> Path:
    text = DEFAULT_MODEL_CONFIG.read_text()
    for key, line in replaced.items():
        text = "\n".join(f"    {line}" if key in old else old for old in text.splitlines())
    config = checkpoint.parent / "model-config.yaml"
    config.write_text(text)
    return build(Recipe("small", "1.0", checkpoint, config), checkpoint.parent / "store")


def test_a_checkpoint_labels_the_photographs_in_order(checkpoint: Path, photo: Path) -> None:
    other = photo.with_name("other.png")
    other.write_bytes(encode(noise(20, 30)))
    predictor = load(checkpoint, ONE_VIEW)

    first, second = predictor.label_maps([photo, other])

    assert (first.shape, second.shape) == ((41, 57), (20, 30))
    expected = predictor.pipeline.segment(decode_image(photo.read_bytes(), Limits())).label_map
    np.testing.assert_array_equal(first, expected)


def test_an_archive_predicts_what_its_checkpoint_does(checkpoint: Path, photo: Path) -> None:
    archive = load(write_archive(checkpoint), ONE_VIEW)

    (packed,), (own,) = archive.label_maps([photo]), load(checkpoint, ONE_VIEW).label_maps([photo])

    assert archive.labels.names == CLASSES
    np.testing.assert_array_equal(packed, own)


def test_an_archive_has_its_own_settings(checkpoint: Path, photo: Path) -> None:
    archive = load(write_archive(checkpoint, max_pixels="max_pixels: 100"), ONE_VIEW)

    with pytest.raises(PredictionError, match=r"photo\.jpg: the image has 57×41 = 2,337 pixels, the limit is 100"):
        next(archive.label_maps([photo]))


def test_an_unusable_setting_of_an_archive_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    with zipfile.ZipFile(write_archive(checkpoint)) as archive, zipfile.ZipFile(tmp_path / "a.mar", "w") as spoiled:
        for name in archive.namelist():
            spoiled.writestr(name, archive.read(name).replace(b"threads: 0 ", b"threads: -1 "))

    with pytest.raises(ConfigurationError, match=r"a\.mar, model-config\.yaml: 'handler\.threads': -1"):
        load(tmp_path / "a.mar", ONE_VIEW)


def test_a_broken_photograph_is_named(checkpoint: Path, photo: Path) -> None:
    photo.write_bytes(b"nothing")

    with pytest.raises(PredictionError, match=r"photo\.jpg: the 7 bytes sent are not an image"):
        next(load(checkpoint, ONE_VIEW).label_maps([photo]))


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match=r"unknown kind of file '\.pth' \(known: \.safetensors, \.mar\)"):
        load(tmp_path / "a.pth", ONE_VIEW)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match=r"a\.mar: no such file"):
        load(tmp_path / "a.mar", ONE_VIEW)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mar"
    path.write_bytes(b"nothing")

    with pytest.raises(PredictionError, match=r"a\.mar: not a model archive of this project"):
        load(path, ONE_VIEW)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"nothing")

    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        load(path, ONE_VIEW)


def test_several_views_are_refused_rather_than_left_out(checkpoint: Path) -> None:
    with pytest.raises(PredictionError, match="--scales and --flip are only for --url"):
        load(checkpoint, Averaging(flip=True))


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{Ports.free().inference}/predictions/deeplabv3"

    with pytest.raises(PredictionError, match=f"{url}: no answer"):
        ServerPredictor.connect(url, ONE_VIEW)


@pytest.mark.parametrize(
    ("averaging", "headers", "words"),
    [
        (Averaging(), {}, "single scale"),
        (Averaging((0.75, 1.0)), {"X-Segment-Scales": "0.75,1"}, "scales 0.75, 1"),
        (Averaging((), flip=True), {"X-Segment-Flip": "true"}, "single scale, mirrored too"),
    ],
)
def test_averaging_becomes_options_of_a_request(averaging: Averaging, headers: dict[str, str], words: str) -> None:
    assert averaging.headers() == headers
    assert str(averaging) == words

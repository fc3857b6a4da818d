"""The distributions that packaging records of reference photographs, and the drift of other photographs from them."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from handler.archive import REFERENCE, ModelArchive, extract_archive, read_reference
from handler.drift import Reference, drift
from handler.pipeline import Pipeline
from model.strict import ConfigurationError
from scripts.package.reference import describe_reference, record_reference, write_reference
from tests.support import CLASSES

#: The distance at which an alert fires (deploy/prometheus/alerts.yml).
ALERT = 0.3


@pytest.fixture(scope="module")
def photographs(small_archive: Path) -> Path:
    return small_archive.parent / "photographs"


@pytest.fixture(scope="module")
def archive(small_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelArchive:
    return extract_archive(small_archive, tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def pipeline(archive: ModelArchive) -> Pipeline:
    return Pipeline.load(archive.checkpoint, archive.settings, archive.identity, archive=archive.folder)


@pytest.fixture(scope="module")
def reference(archive: ModelArchive) -> Reference:
    recorded = read_reference(archive.folder, len(CLASSES))
    assert recorded is not None
    return recorded


def test_the_same_photographs_do_not_drift(reference: Reference, pipeline: Pipeline, photographs: Path) -> None:
    repeated = record_reference(pipeline, photographs)

    assert (repeated.source, repeated.distribution.images) == ("photographs", 7)
    assert set(drift(reference.distribution, repeated.distribution).values()) == {0.0}


def test_photographs_of_another_camera_drift_enough_for_an_alert(
    reference: Reference, pipeline: Pipeline, photographs: Path, tmp_path: Path
) -> None:
    """Its pictures are dark and have nine times as many pixels."""
    for path in photographs.iterdir():
        with Image.open(path) as photograph:
            large = photograph.convert("RGB").resize((photograph.width * 3, photograph.height * 3))
        ImageEnhance.Brightness(large).enhance(0.15).save(tmp_path / path.name)

    distances = drift(reference.distribution, record_reference(pipeline, tmp_path).distribution)

    assert distances["brightness"] > ALERT
    assert distances["megapixels"] > ALERT


def test_a_small_reference_is_reported(small_archive: Path) -> None:
    sentence = "servers compare what they get with 7 images of photographs; 100 or more would show smaller differences"

    assert describe_reference(small_archive) == sentence


def test_an_image_that_cannot_be_segmented_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"no image")

    with pytest.raises(ConfigurationError, match=r"torn\.jpg: .*8 bytes"):
        record_reference(pipeline, tmp_path)


def test_a_reference_of_another_model_is_refused(reference: Reference, tmp_path: Path) -> None:
    write_reference(reference, tmp_path)

    with pytest.raises(ConfigurationError, match=r"3 classes.*and 21; package the model again"):
        read_reference(tmp_path, 21)

    content = json.loads((tmp_path / REFERENCE).read_bytes())
    del content["distribution"]["bins"]["brightness"]
    (tmp_path / REFERENCE).write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=r"should have .*brightness"):
        read_reference(tmp_path, 3)
    shutil.rmtree((tmp_path / REFERENCE).parent)
    assert read_reference(tmp_path, 3) is None

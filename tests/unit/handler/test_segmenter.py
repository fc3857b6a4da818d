"""The Python interface, with an archive built by hand and with its checkpoint."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handler.answers import FORMATS
from handler.errors import ImageTooLarge, InvalidImage, InvalidOption
from handler.options import AnswerOptions, ModelIdentity, SegmentationRequest
from handler.pipeline import Pipeline
from handler.segmenter import ImageSource, Segmenter
from handler.settings import HandlerSettings
from model.strict import ConfigurationError
from tests.support import CHECKPOINT, CLASSES, encode, noise

pytestmark = pytest.mark.slow

PHOTO = noise(40, 60)


@pytest.fixture(scope="module")
def checkpoint(converted: Path) -> Path:
    return converted / CHECKPOINT


@pytest.fixture(scope="module")
def archive(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "pets.mar"
    manifest = {
        "model": {
            "modelName": "pets",
            "modelVersion": "2.5",
            "serializedFile": CHECKPOINT,
            "configFile": "model-config.yaml",
        }
    }
    with zipfile.ZipFile(path, "w") as file:
        for member in converted.rglob("*"):
            file.write(member, member.relative_to(converted))
        file.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        file.writestr("model-config.yaml", "handler: {answer: {masks: none}, limits: {max_pixels: 100000}}")
    return path


@pytest.fixture(scope="module")
def segmenter(archive: Path) -> Segmenter:
    return Segmenter.load(archive)


@pytest.fixture(scope="module")
def pipeline(converted: Path) -> Pipeline:
    return Pipeline.load(converted / CHECKPOINT, HandlerSettings(), ModelIdentity("pets", "2.5"), archive=converted)


@pytest.mark.parametrize(
    "source",
    [PHOTO, encode(PHOTO), Image.fromarray(PHOTO)],
    ids=["array", "bytes", "Pillow image"],
)
def test_every_kind_of_source_gives_the_same_label_map(segmenter: Segmenter, source: ImageSource, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encode(PHOTO))

    label_map = segmenter(source).label_map

    assert label_map.shape == (40, 60)
    np.testing.assert_array_equal(label_map, segmenter(path).label_map)
    np.testing.assert_array_equal(label_map, segmenter(str(path)).label_map)


def test_a_pillow_image_is_read_like_its_file(segmenter: Segmenter) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    file = encode(Image.fromarray(PHOTO).convert("RGBA"), "PNG", exif=exif)

    np.testing.assert_array_equal(segmenter(Image.open(io.BytesIO(file))).label_map, segmenter(file).label_map)


@pytest.mark.parametrize("name", FORMATS)
def test_a_result_converts_to_the_answer_of_a_server(segmenter: Segmenter, pipeline: Pipeline, name: str) -> None:
    answer = AnswerOptions(format=name, masks="none", components=True)
    expected = pipeline.answer(SegmentationRequest(encode(PHOTO), answer=answer))

    converted = segmenter(PHOTO).to(name, components=True)

    assert converted == (json.loads(expected.body) if expected.content_type.endswith("json") else expected.body)


def test_a_checkpoint_can_be_loaded(checkpoint: Path) -> None:
    segmenter = Segmenter.load(checkpoint, engine="torch")  # Which needs no conversion.

    assert segmenter.classes == CLASSES
    assert segmenter(PHOTO).to("json")["model"] == "model"


def test_segments_and_masks_cover_the_label_map(segmenter: Segmenter) -> None:
    result = segmenter(PHOTO)

    assert sum(segment.pixels for segment in result.segments) == 40 * 60
    for segment in result.segments:
        assert result.mask(segment.label).sum() == segment.pixels


def test_options_are_the_same_as_in_requests(segmenter: Segmenter) -> None:
    result = segmenter(PHOTO, classes=["dog"], scales=(0.5, 1), flip=True)

    assert set(np.unique(result.label_map)) <= {0, 2}
    with pytest.raises(InvalidOption, match=r"'clases'.*'classes'"):
        segmenter(PHOTO, clases=["dog"])
    with pytest.raises(InvalidOption, match="min_score"):
        segmenter(PHOTO, min_score=2)


def test_a_result_refuses_options_of_the_network(segmenter: Segmenter) -> None:
    with pytest.raises(InvalidOption, match="'flip'"):
        segmenter(PHOTO).to("png", flip=True)


@pytest.mark.parametrize(
    ("name", "kind"), [("mask.png", "PNG"), ("overlay.JPG", "JPEG"), ("overlay.jpeg", "JPEG")], ids=["mask", "overlay", "jpeg"]
)
def test_the_file_extension_selects_the_format(segmenter: Segmenter, tmp_path: Path, name: str, kind: str) -> None:
    segmenter(PHOTO).save(tmp_path / name)

    with Image.open(tmp_path / name) as picture:
        assert (picture.format, picture.size) == (kind, (60, 40))


def test_an_explicit_format_overrides_the_file_extension(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter(PHOTO).save(tmp_path / "cat.json", "coco")

    assert "annotations" in json.loads((tmp_path / "cat.json").read_bytes())


def test_an_unknown_file_extension_is_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"'\.bmp'.*\.png"):
        segmenter(PHOTO).save(tmp_path / "mask.bmp")


@pytest.mark.parametrize(
    "array", [PHOTO.astype(np.float32), PHOTO[:, :, :2], np.zeros((0, 5, 3), np.uint8)], ids=["float", "two bands", "empty"]
)
def test_an_array_that_is_not_an_image_is_refused_with_its_type_and_shape(segmenter: Segmenter, array: ImageSource) -> None:
    assert isinstance(array, np.ndarray)
    with pytest.raises(InvalidImage) as error:
        segmenter(array)

    assert str(array.dtype) in str(error.value)
    assert str(array.shape) in str(error.value)


def test_the_archives_limits_apply(segmenter: Segmenter) -> None:
    with pytest.raises(ImageTooLarge, match="100,000"):
        segmenter(encode(noise(400, 400)))


def test_settings_can_be_replaced_and_a_misspelt_one_is_named(archive: Path) -> None:
    assert Segmenter.load(archive, engine="torch")(PHOTO).label_map.shape == (40, 60)
    with pytest.raises(ConfigurationError, match=r"'engin'.*'engine'"):
        Segmenter.load(archive, engin="torch")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")

    with pytest.raises(ConfigurationError, match=r"weights\.pth.*\.mar.*\.safetensors"):
        Segmenter.load(tmp_path / "weights.pth")
    with pytest.raises(FileNotFoundError, match="absent"):
        Segmenter.load(tmp_path / "absent.mar")

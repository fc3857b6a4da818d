import io
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from handler.answers import EncodedResponse
from handler.image.decode import decode_image
from handler.limits import Limits
from handler.masks.label_map import LabelMap
from handler.options import AnswerOptions, InferenceOptions, ModelIdentity, SegmentationRequest
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model import CheckpointError, ResizePolicy, read_metadata, replace_metadata
from model.strict import ConfigurationError
from scripts.client import ServerUnreachable
from scripts.evaluate.predictors import PredictionError, ServerPredictor, load
from scripts.package import DEFAULT_CHECKPOINT
from scripts.samples import write_samples
from scripts.server import Ports
from tests.archives import copy_with_settings
from tests.support import CLASSES, encode, label_maps, noise, write_checkpoint

pytestmark = pytest.mark.slow

AS_SERVED = InferenceOptions()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(noise(41, 57), "JPEG"))
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "a.safetensors")


@pytest.fixture(scope="module")
def cat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return next(path for path in write_samples(tmp_path_factory.mktemp("samples")) if path.stem == "chelsea")


@pytest.fixture(scope="module")
def trained_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the default checkpoint for smaller images, which take less time."""
    path = shutil.copyfile(DEFAULT_CHECKPOINT, tmp_path_factory.mktemp("trained") / "a.safetensors")
    replace_metadata(path, read_metadata(path).model_copy(update={"resize": ResizePolicy(side="long", size=192, multiple=32)}))
    return path


@pytest.fixture(scope="module")
def cat_as_served(trained_checkpoint: Path, cat: Path) -> LabelMap:
    (label_map,) = label_maps(load(trained_checkpoint, AS_SERVED, engine="torch"), [cat])
    return label_map


def with_settings(archive: Path, folder: Path, **handler: object) -> Path:
    """Copy the archive into `folder` with other handler settings."""
    return copy_with_settings(archive, folder, lambda settings: settings["handler"].update(handler))


def test_label_maps_keep_the_order_of_the_images(checkpoint: Path, photo: Path) -> None:
    second_photo = photo.with_name("other.png")
    second_photo.write_bytes(encode(noise(20, 30)))
    predictor = load(checkpoint, AS_SERVED, engine="torch")

    first, second = label_maps(predictor, [photo, second_photo])

    assert (first.shape, second.shape) == ((41, 57), (20, 30))
    expected = predictor.pipeline.segment(decode_image(photo.read_bytes(), Limits())).label_map
    np.testing.assert_array_equal(first, expected)


def test_a_large_jpeg_is_decoded_as_on_the_server(checkpoint: Path, tmp_path: Path) -> None:
    photo = tmp_path / "large.jpg"
    photo.write_bytes(encode(noise(330, 410), "JPEG"))
    predictor = load(checkpoint, AS_SERVED, engine="torch")
    request = SegmentationRequest(photo.read_bytes(), answer=AnswerOptions(format="png"))

    (label_map,) = label_maps(predictor, [photo])

    served = predictor.pipeline.answer(request)
    assert isinstance(served, EncodedResponse)
    np.testing.assert_array_equal(label_map, np.asarray(Image.open(io.BytesIO(served.body))))


def test_an_archive_predicts_like_its_checkpoint(small_archive: Path, checkpoint: Path, photo: Path) -> None:
    archive = load(small_archive, AS_SERVED)

    (packaged,), (unpackaged,) = label_maps(archive, [photo]), label_maps(load(checkpoint, AS_SERVED), [photo])

    assert archive.labels.names == CLASSES
    np.testing.assert_array_equal(packaged, unpackaged)


def test_an_archive_has_its_own_settings(small_archive: Path, tmp_path: Path, photo: Path) -> None:
    archive = load(with_settings(small_archive, tmp_path, limits={"max_pixels": 100}), AS_SERVED)

    with pytest.raises(PredictionError, match=r"photo\.jpg.* 2,337 .* 100"):
        next(label_maps(archive, [photo]))


def test_an_invalid_setting_of_an_archive_is_refused(small_archive: Path, tmp_path: Path) -> None:
    archive = with_settings(small_archive, tmp_path, threads=-1)

    with pytest.raises(ConfigurationError, match=r"pets\.mar, model-config\.yaml.*'handler\.threads'.*-1"):
        load(archive, AS_SERVED)


def test_a_broken_photograph_is_reported(checkpoint: Path, photo: Path) -> None:
    photo.write_bytes(b"nothing")

    with pytest.raises(PredictionError, match=r"photo\.jpg: the 7 bytes sent are not an image"):
        next(label_maps(load(checkpoint, AS_SERVED, engine="torch"), [photo]))


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match=r"unknown kind of file '\.pth' \(known: \.safetensors, \.mar\)"):
        load(tmp_path / "a.pth", AS_SERVED)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match=r"a\.mar: no such file"):
        load(tmp_path / "a.mar", AS_SERVED)


def test_a_file_that_is_not_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mar"
    path.write_bytes(b"nothing")

    with pytest.raises(PredictionError, match=r"a\.mar: not a model archive of this project"):
        load(path, AS_SERVED)


def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"nothing")

    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        load(path, AS_SERVED)


@pytest.mark.parametrize(
    ("options", "output_stride"),
    [
        (InferenceOptions(scales=(0.75, 1.25), flip=True), None),
        pytest.param(InferenceOptions(scales=(0.75,)), None, marks=pytest.mark.exhaustive),
        (AS_SERVED, 8),
    ],
)
def test_options_are_those_of_the_pipeline(
    trained_checkpoint: Path, cat: Path, cat_as_served: LabelMap, options: InferenceOptions, output_stride: Literal[8] | None
) -> None:
    # With torch, which needs no conversion.
    (label_map,) = label_maps(load(trained_checkpoint, options, output_stride=output_stride, engine="torch"), [cat])

    settings = HandlerSettings(engine="torch", output_stride=output_stride)
    pipeline = Pipeline.load(trained_checkpoint, settings, ModelIdentity("a", ""))
    photo = decode_image(cat.read_bytes(), Limits())
    np.testing.assert_array_equal(label_map, pipeline.segment(photo, options).label_map)
    assert (label_map != cat_as_served).any()


def test_options_default_to_the_archives(small_archive: Path, tmp_path: Path) -> None:
    archive = with_settings(small_archive, tmp_path, inference={"scales": [0.5, 1], "flip": True})

    assert load(archive, AS_SERVED).options == InferenceOptions(scales=(0.5, 1.0), flip=True)
    assert load(archive, InferenceOptions(flip=False)).options == InferenceOptions(scales=(0.5, 1.0), flip=False)


def test_options_of_a_checkpoint_default_to_the_handlers(checkpoint: Path) -> None:
    assert load(checkpoint, InferenceOptions(flip=True), engine="torch").options == InferenceOptions(flip=True)


@pytest.mark.parametrize(
    ("options", "output_stride", "expected"),
    [
        (AS_SERVED, None, "single scale"),
        (InferenceOptions(scales=(0.75, 1), flip=True), None, "scales 0.75, 1, mirrored too"),
        (InferenceOptions(tiles=2), None, "single scale, 2×2 tiles"),
        (AS_SERVED, 8, "single scale, output stride 8"),
    ],
)
def test_conditions_describe_the_options_and_the_engine(
    checkpoint: Path, options: InferenceOptions, output_stride: Literal[8] | None, expected: str
) -> None:
    assert load(checkpoint, options, output_stride=output_stride, engine="torch").conditions == f"{expected}, torch in float32"


def test_conditions_include_the_settings_of_an_archive(small_archive: Path, tmp_path: Path) -> None:
    archive = with_settings(small_archive, tmp_path, inference={"flip": True}, output_stride=8, precision="float32")

    assert load(archive, AS_SERVED).conditions == "single scale, mirrored too, output stride 8, openvino in float32"


def test_the_engine_of_an_archive_can_be_replaced(small_archive: Path) -> None:
    assert load(small_archive, AS_SERVED, engine="torch", precision="float32").conditions == "single scale, torch in float32"


def test_an_unreachable_server_is_reported() -> None:
    url = f"http://127.0.0.1:{Ports.free().inference}/predictions/deeplabv3"

    with pytest.raises(ServerUnreachable, match=f"{url}: no answer"):
        ServerPredictor.connect(url, AS_SERVED)

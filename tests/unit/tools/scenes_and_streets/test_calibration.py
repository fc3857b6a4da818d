"""Checks of a calibration against annotations of PASCAL VOC, which has different classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handler.labels import Labels
from handler.masks.segmentation import Segmentation
from handler.options import InferenceOptions
from model import ModelConfig, read_metadata
from model.palette import voc_palette
from scripts.datasets import open_data
from scripts.evaluate.predictors import load
from tests.support import noise, write_checkpoint
from tools.scenes_and_streets.calibration import calibrate
from tools.scenes_and_streets.labelled_evidence import SHARED, SharedClasses, intersection_over_union
from tools.scenes_and_streets.published_networks import PUBLISHED

#: VOC's indices.
BACKGROUND, BUS, CAT, CHAIR, PERSON, VOID = 0, 6, 8, 9, 15, 255
CLASSES = ("wall", "person", "chair", "armchair")
WALL, MODEL_PERSON, MODEL_CHAIR, ARMCHAIR = range(4)
SHARED_CLASSES = SharedClasses.find({"person": ("person",), "chair": ("chair", "armchair")}, CLASSES)
#: Predictions of every label, over annotations of every kind.
ANNOTATED = np.array([[BACKGROUND, PERSON, CHAIR, CHAIR], [CAT, VOID, PERSON, BACKGROUND]], np.uint8)
PREDICTED = np.array(
    [[WALL, MODEL_PERSON, MODEL_CHAIR, ARMCHAIR], [MODEL_PERSON, MODEL_PERSON, MODEL_CHAIR, MODEL_PERSON]], np.uint8
)


def segmentation(label_map: np.ndarray, confidence: float) -> Segmentation:
    """Give each label this probability, and the next class the remainder."""
    probabilities = np.zeros((len(CLASSES), *label_map.shape), np.float32)
    for shift, value in ((0, confidence), (1, 1 - confidence)):
        np.put_along_axis(probabilities, (label_map[None].astype(int) + shift) % len(CLASSES), value, axis=0)
    return Segmentation(None, label_map, probabilities, Labels(CLASSES, voc_palette(len(CLASSES))))


@pytest.mark.parametrize("name", SHARED)
def test_shared_classes_exist_in_both_lists_of_classes(name: str) -> None:
    shared = SharedClasses.find(SHARED[name], PUBLISHED[name].classes)

    assert shared.names == tuple(SHARED[name])
    assert set(shared.voc_to_shared.tolist()) >= set(range(len(shared.names)))


def test_the_confusion_ignores_pixels_annotated_as_other_classes() -> None:
    confusion = SHARED_CLASSES.confusion(segmentation(PREDICTED, 0.8), ANNOTATED)

    # Truth by row, prediction by column: person, chair, neither. A cat and void were taken for a person.
    assert confusion.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    np.testing.assert_allclose(intersection_over_union(confusion), [1 / 3, 2 / 3])


def test_the_iou_without_pixels_is_nan() -> None:
    assert np.isnan(intersection_over_union(np.zeros((3, 3), np.int64))).all()


def test_reliability_adds_up_the_confidence_of_classes_that_share_a_name() -> None:
    sample = SHARED_CLASSES.sample(segmentation(PREDICTED, 0.8), ANNOTATED, 100, seed=0)

    reliability = SHARED_CLASSES.reliability(sample, 1.0)

    # Correct: a person, a chair, an armchair. Wrong: a person labelled as chair, background labelled as person.
    assert reliability.pixels.sum() == 5
    assert reliability.correct.sum() == 3
    # A chair's remainder goes to armchair, which counts as chair; an armchair's to wall, a person's to chair.
    np.testing.assert_allclose(reliability.confidence.sum(), 1 + 1 + 3 * 0.8, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("agrees", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_a_temperature_is_written_only_if_annotations_agree(
    agrees: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ModelConfig(backbone="mobilenet_v2", num_classes=len(CLASSES), output_stride=16)
    palette = voc_palette(len(CLASSES))
    checkpoint = write_checkpoint(tmp_path / "a.safetensors", model=model, classes=CLASSES, palette=palette)
    for folder in ("published/images", "published/masks", "voc/JPEGImages", "voc/SegmentationClass"):
        (tmp_path / folder).mkdir(parents=True)
    for photograph in (tmp_path / "published/images/a.png", tmp_path / "voc/JPEGImages/a.png"):
        Image.fromarray(noise(60, 80)).save(photograph)
    (prediction,) = load(checkpoint, InferenceOptions(), engine="torch").predict([tmp_path / "published/images/a.png"])
    # The published network always agrees, so the temperature falls and confidence grows.
    Image.fromarray(prediction.label_map).save(tmp_path / "published/masks/a.png")
    agreeing = np.array([BACKGROUND, PERSON, CHAIR, CHAIR], np.uint8)[prediction.label_map]
    disagreeing = np.array([BACKGROUND, CHAIR, PERSON, PERSON], np.uint8)[prediction.label_map]
    Image.fromarray(agreeing if agrees else disagreeing).save(tmp_path / "voc/SegmentationClass/a.png")

    calibrate(checkpoint, open_data(tmp_path / "published"), open_data(tmp_path / "voc"), SHARED_CLASSES, "torch")

    calibration = read_metadata(checkpoint).calibration
    assert (calibration is not None) == agrees
    assert calibration is None or calibration.temperature < 1
    assert ("annotations disagree, so nothing was written" in capsys.readouterr().out) != agrees
    assert (tmp_path / "a.reliability.png").is_file()

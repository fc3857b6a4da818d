"""A run's data: splits, classes and missing parts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.datasets import DataError
from scripts.training.config import TrainingConfig
from scripts.training.training_data import TrainingData, open_training_data
from tests.unit.scripts.datasets.support import write_image, write_pairs

MASK = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
NAMES = ("background", "cat", "dog")


def open_with(data: Path | dict[str, Any], **changes: Any) -> TrainingData:
    model = {"backbone": "mobilenet_v2", "num_classes": 3, "output_stride": 16}
    values = {"model": model, "epochs": 1, "data": data, "validation": {"held_out_every": 3}}
    return open_training_data(TrainingConfig.parse(values | changes, source="test"), show_progress=True)


def test_a_class_without_a_pixel_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path, {f"{number}": np.minimum(MASK, 1) for number in range(6)})

    with pytest.raises(DataError, match=r"no mask holds dog \(2\); the masks hold 0 \(background\) in 8 pixels, 1 "):
        open_with(tmp_path)
    assert open_with(tmp_path, allow_absent_classes=True).summary.absent_classes == (2,)


def test_mask_values_set_the_meaning_of_255(tmp_path: Path) -> None:
    write_pairs(tmp_path, {f"{number}": np.where(MASK == 2, 255, MASK).astype(np.uint8) for number in range(6)})

    with pytest.raises(DataError, match=r"--mask-values 255=dog, or with mask_values: \{255: dog\}"):
        open_with(tmp_path)
    training_data = open_with({"folder": str(tmp_path), "mask_values": {255: "dog"}})
    assert training_data.summary.pixels == (8, 8, 8)


def test_void_colours_are_not_proposed_as_a_class(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [128, 0, 0], [224, 224, 192]], np.uint8)
    write_pairs(tmp_path, {f"{number}": colours[MASK] for number in range(6)}, names=None)
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ncat:128,0,0::\ndog:1,2,3::\nvoid:224,224,192::\n")

    with pytest.raises(DataError, match=r"no mask holds dog \(2\)") as caught:
        open_with(tmp_path)

    assert "--mask-values" not in str(caught.value)


def test_a_class_without_a_pixel_in_validation_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(tmp_path, {f"{number}": np.minimum(MASK, 1) if number % 3 == 0 else MASK for number in range(6)})

    assert open_with(tmp_path).validation_images == (2, 2, 0)

    warning = "warning: the 2 validation images hold no pixel of dog, whose IoU they cannot measure"
    assert warning in capsys.readouterr().err


@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("Train", "Validation"), ("train2017", "val2017")])
def test_splits_are_found_by_their_usual_names(tmp_path: Path, train: str, val: str) -> None:
    write_pairs(tmp_path, {"a": MASK, "b": MASK}, folders=("JPEGImages", "SegmentationClass"))
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, name in ((train, "a"), (val, "b")):
        (tmp_path / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(name)

    training_data = open_with(tmp_path)

    assert [sample.name for data in (training_data.training, training_data.validation) for sample in data.samples] == ["a", "b"]


def test_a_folder_without_lists_is_split_identically_each_time(tmp_path: Path) -> None:
    write_pairs(tmp_path, {f"{number}": MASK for number in range(7)}, folders=("JPEGImages", "SegmentationClass"))

    for _ in range(2):
        training_data = open_with(tmp_path)
        assert [sample.name for sample in training_data.validation.samples] == ["0", "3", "6"]
        assert [sample.name for sample in training_data.training.samples] == ["1", "2", "4", "5"]


def test_coco_data_can_be_trained_on(tmp_path: Path) -> None:
    # The mask's right half is a dog's, its lower left corner a cat's.
    annotations = [
        {"image_id": number, "category_id": category, "segmentation": [corners]}
        for number in range(6)
        for category, corners in ((90, [2, 0, 4, 0, 4, 4, 2, 4]), (17, [0, 2, 2, 2, 2, 4, 0, 4]))
    ]
    images = [{"id": number, "file_name": f"{number}.jpg", "height": 4, "width": 4} for number in range(6)]
    categories = [{"id": 17, "name": "cat"}, {"id": 90, "name": "dog"}]
    for number in range(6):
        write_image(tmp_path / "photographs" / f"{number}.jpg", np.zeros((4, 4, 3), np.uint8))
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "pets.json").write_text(json.dumps(content))
    source = {"layout": "coco", "folder": str(tmp_path), "annotations": "pets.json", "images": "photographs"}

    training_data = open_with(source)
    assert training_data.classes == NAMES
    assert training_data.training.read(training_data.training.samples[0])[1].tolist() == [[0, 0, 2, 2]] * 2 + [[1, 1, 2, 2]] * 2
    assert open_with(source, classes=["Background", "dog", "cat"]).summary.pixels == (16, 32, 16)


def test_spellings_of_background_are_equivalent(tmp_path: Path) -> None:
    write_pairs(tmp_path, {f"{number}": MASK for number in range(6)}, names=None)

    assert open_with(tmp_path, classes=["__background__", "cat", "dog"]).classes == NAMES


def test_an_unknown_key_of_the_data_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown key 'data\.image', did you mean 'images'\?"):
        open_with({"folder": str(tmp_path), "image": "photographs"})

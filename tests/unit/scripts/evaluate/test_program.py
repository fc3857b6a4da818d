import html
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from handler.labels import Labels
from model import read_metadata
from model.palette import voc_palette
from scripts.datasets import DataError, SegmentationData, open_data
from scripts.evaluate.__main__ import main
from scripts.evaluate.metrics import compare
from scripts.evaluate.report import draw_confusion
from scripts.evaluate.scoring import require_same_classes
from tests.support import CLASSES, ROOT, noise, write_checkpoint

pytestmark = pytest.mark.slow

NAMES = ("calm", "a & b")
#: Used if any engine will do: OpenVINO would convert the network first, which takes two seconds.
TORCH = ("--engine", "torch")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def write_data(root: Path) -> Path:
    """Write two pictures, one of them all of class 1, the other half of class 0 and half of class 2."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    halves = np.zeros((30, 40), np.uint8)
    halves[:, 20:] = 2
    for name, mask in zip(NAMES, (np.ones((30, 40), np.uint8), halves), strict=True):
        Image.fromarray(noise(30, 40)).save(root / "images" / f"{name}.jpg")
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "a.safetensors")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a complete report."""
    folder = tmp_path_factory.mktemp("report")
    checkpoint = write_checkpoint(folder / "a.safetensors")
    assert main([str(checkpoint), "--data", str(write_data(folder / "data")), "--out", str(folder / "out"), *TORCH]) == 0
    return folder / "out"


@pytest.fixture(autouse=True)
def _draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip drawing, which takes most of a run's time; `report` has every picture."""
    for name in ("draw_confusion", "draw_reliability"):
        monkeypatch.setattr(f"scripts.evaluate.command.{name}", lambda *_: None)


def test_figures_are_printed_by_class_and_as_means(data: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint), *TORCH, "--data", str(data)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["class", "IoU", "boundary", "accuracy", "pixels", "images"]
    assert [(line.split()[0], line.split()[-2]) for line in lines[1:4]] == [
        ("background", "600"),
        ("cat", "1,200"),
        ("dog", "600"),
    ]
    names = [re.split(r"\s{2,}", line)[0] for line in lines[5:]]
    assert names[:4] == ["mIoU", "boundary IoU", "mean accuracy", "pixel accuracy"]
    assert names[4:7] == ["", "expected calibration error", "negative log-likelihood"]
    assert names[7:] == ["", "images ranked by", "review", "mean confidence", "mIoU itself"]


def test_figures_are_recorded_once_per_data_set(data: Path, checkpoint: Path) -> None:
    for _ in range(2):
        assert main([str(checkpoint), "--data", str(data), "--record", "two pictures", *TORCH]) == 0

    (evaluation,) = read_metadata(checkpoint).evaluations
    assert (evaluation.dataset, evaluation.conditions) == ("two pictures", "2 images, single scale, torch in float32")
    assert evaluation.boundary_iou is not None


def test_the_json_file_holds_every_figure(report: Path) -> None:
    scores = json.loads((report / "scores.json").read_text())
    assert np.array(scores["confusion"]).sum(1).tolist() == [600, 1200, 600]
    assert [entry["name"] for entry in scores["classes"]] == list(CLASSES)
    assert {entry["name"] for entry in scores["images"]} == set(NAMES)
    assert (scores["layout"], scores["conditions"]) == ("plain", "single scale, torch in float32")
    assert 0 <= scores["boundary_iou"] <= 1
    assert 0 <= scores["ece"] <= 1
    assert scores["nll"] > 0
    assert sum(bin_["pixels"] for bin_ in scores["reliability"]) == 2400
    assert set(scores["rankings"]) == {"review", "mean confidence", "mIoU itself"}
    assert all(0 <= image["review"] <= 1 for image in scores["images"])


def test_the_json_file_records_the_options(tmp_path: Path, data: Path, checkpoint: Path) -> None:
    options = ["--scales", "1.25,0.75", "--flip", "--tiles", "2", "--output-stride", "8", "--precision", "float32"]

    assert main([str(checkpoint), "--data", str(data), "--out", str(tmp_path / "out"), *options]) == 0

    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["conditions"] == "scales 0.75, 1.25, mirrored too, 2×2 tiles, output stride 8, openvino in float32"


def test_bands_and_range_apply_to_tiffs(tmp_path: Path, data: Path, checkpoint: Path) -> None:
    for name in NAMES:
        (data / "images" / f"{name}.jpg").unlink()
        bands = np.dstack([noise(30, 40), noise(30, 40)]).astype(np.uint16) * 9
        tifffile.imwrite(data / "images" / f"{name}.tif", bands, photometric="minisblack", planarconfig="contig")
    options = ["--bands", "6,5,4", "--range", "0,2295", "--engine", "torch"]

    assert main([str(checkpoint), "--data", str(data), "--out", str(tmp_path / "out"), *options]) == 0

    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["conditions"] == "single scale, bands 6,5,4, range 0.0,2295.0, torch in float32"


def test_the_page_shows_the_worst_images_first(report: Path) -> None:
    page = (report / "worst.html").read_text()
    by_miou = sorted(json.loads((report / "scores.json").read_text())["images"], key=lambda image: float(image["miou"]))
    assert re.findall(r"<h2>\d+\. (.*?):", page) == [html.escape(image["name"]) for image in by_miou]
    links = re.findall(r'src="(.*?)"', page)
    assert len(links) == 6
    for link in links:
        assert format_of(report / link) == "JPEG"


@pytest.mark.parametrize("name", ["confusion", "reliability"])
def test_figures_are_drawn(report: Path, name: str) -> None:
    assert format_of(report / f"{name}.png") == "PNG"


def format_of(path: Path) -> str | None:
    with Image.open(path) as picture:
        picture.load()
        return picture.format


def test_class_names_are_not_drawn_as_formulas(tmp_path: Path) -> None:
    names = (r"$\nothing$", "人 🌳")
    label_map = np.eye(2, dtype=np.uint8)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(tmp_path / "confusion.png", compare(label_map, label_map, len(names)), names)

    with Image.open(tmp_path / "confusion.png") as picture:
        assert min(picture.size) > 300


def test_the_page_shows_at_most_the_requested_number_of_images(tmp_path: Path, data: Path, checkpoint: Path) -> None:
    assert main([str(checkpoint), *TORCH, "--data", str(data), "--out", str(tmp_path / "out"), "--worst", "1"]) == 0

    assert (tmp_path / "out" / "worst.html").read_text().count("<section>") == 1


def test_pictures_of_an_earlier_run_are_removed(tmp_path: Path, data: Path, checkpoint: Path) -> None:
    out = tmp_path / "out"
    note = out / "worst" / "note.txt"
    for count in ("2", "1"):
        assert main([str(checkpoint), *TORCH, "--data", str(data), "--out", str(out), "--worst", count]) == 0
        note.write_text("not a picture of a run")

    assert {path.name for path in note.parent.iterdir()} == {"001-photo.jpg", "001-truth.jpg", "001-prediction.jpg", note.name}


def test_invalid_pairs_are_reported_before_the_model_runs(
    data: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (40, 30), 3).save(data / "masks" / "calm.png")

    assert main([str(checkpoint), *TORCH, "--data", str(data)]) == 1

    assert "calm.png: holds index 3 (1,200 pixels); must be 0 to 2" in capsys.readouterr().err


def test_classes_labelled_nowhere_are_listed(
    tmp_path: Path, data: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        Image.fromarray(np.repeat(np.array([[0, 1]], np.uint8), 30, 0).repeat(20, 1)).save(data / "masks" / f"{name}.png")

    assert main([str(checkpoint), *TORCH, "--data", str(data), "--out", str(tmp_path / "out")]) == 0

    printed = capsys.readouterr().out
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["labelled_nowhere"] == ["dog"]
    predicted = np.array(scores["confusion"]).sum(0)[2] > 0
    assert ("labelled nowhere but predicted, so they count as 0 in mIoU: dog" in printed) == predicted
    assert ("neither labelled nor predicted, so they do not count: dog" in printed) != predicted


def test_only_background_labels_are_a_failure(
    tmp_path: Path, data: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 30, 0).repeat(20, 1)).save(data / "masks" / f"{name}.png")

    assert main([str(checkpoint), *TORCH, "--data", str(data), "--out", str(tmp_path / "out"), "--record", "ours"]) == 1

    output = capsys.readouterr()
    means = [line.split()[-1] for line in output.out.splitlines() if line.startswith(("mIoU", "boundary IoU", "mean", "pixel"))]
    assert means == ["–"] * 4
    assert "only background is labelled, so there are no means" in output.out
    assert "data: no mask holds cat (1), dog (2); the masks hold 0 (background) in 1,200 pixels, 255 (ignored) in" in output.err
    assert "--mask-values 255=CLASS" in output.err
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["miou"] is scores["pixel_accuracy"] is None
    assert read_metadata(checkpoint).evaluations == ()


def test_mask_values_map_values_to_classes(data: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 30, 0).repeat(20, 1)).save(data / "masks" / f"{name}.png")

    assert main([str(checkpoint), *TORCH, "--data", str(data), "--mask-values", "255=cat"]) == 0

    assert [line.split()[-2] for line in capsys.readouterr().out.splitlines()[1:4]] == ["1,200", "1,200", "0"]


def test_coco_with_categories_in_another_order_is_scored(
    tmp_path: Path, data: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = {"id": 1, "file_name": f"{NAMES[0]}.jpg", "height": 30, "width": 40}
    polygon = [0, 0, 10, 0, 10, 30, 0, 30]
    file = {
        "images": [image],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 90, "segmentation": [polygon]}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 90, "name": "cat"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(file))

    assert main([str(checkpoint), *TORCH, "--data", str(tmp_path / "val.json"), "--images", str(data / "images")]) == 0

    assert [line.split()[-2] for line in capsys.readouterr().out.splitlines()[1:4]] == ["900", "300", "0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a checkpoint or archive, or --url"),
        (["a.safetensors", "--url", "http://localhost/"], "give either a checkpoint or archive, or --url"),
        (["a.mar", "--worst", "-1"], "'-1' must be a whole number, 0 or more"),
        (["a.mar", "--record", "ours"], "--record ours: writes into a checkpoint"),
        (["a.mar", "--scales", "1;2"], "'1;2'"),
        (["a.mar", "--bands", "0"], "such as 4,3,2"),
        (["a.mar", "--range", "3000,0"], "such as 0,3000 or auto"),
        (["a.mar", "--tiles", "0"], "'0' must be a whole number"),
        (["a.mar", "--tiles", "2x2"], "'2x2' must be a whole number"),
        (["a.mar", "--mask-values", "roof=255"], "'roof=255' must be a mask's value and its class, such as 255=roof"),
        (["a.mar", "--mask-values", "255="], "'255=' must be a mask's value and its class"),
        (["a.mar", "--scales", "1,9"], "give numbers from 0.25 to 2"),
        (
            ["--url", "http://localhost/", "--output-stride", "8", "--precision", "float32"],
            "--output-stride is for a checkpoint or an archive",
        ),
    ],
)
def test_invalid_or_conflicting_arguments_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--data", str(ROOT)]) == 2

    assert message in capsys.readouterr().err


def labels(*names: str) -> Labels:
    return Labels(names, voc_palette(len(names)))


def with_classes(data: Path, *names: str) -> SegmentationData:
    (data / "classes.txt").write_text("\n".join(names))
    return open_data(data)


def test_the_same_classes_are_accepted(data: Path) -> None:
    assert require_same_classes(labels(*CLASSES), open_data(data)) is None


def test_another_number_of_classes_is_refused(data: Path) -> None:
    with pytest.raises(DataError, match="has 3 classes, the model has 2"):
        require_same_classes(labels("background", "cat"), open_data(data))


def test_classes_in_another_order_are_refused(data: Path) -> None:
    with pytest.raises(DataError, match="in another order: 1 is 'dog' here, 'cat' in the model"):
        require_same_classes(labels(*CLASSES), with_classes(data, "background", "dog", "cat"))


def test_another_spelling_of_a_class_is_reported(data: Path) -> None:
    note = require_same_classes(labels(*CLASSES), with_classes(data, "background", "cat", "hound"))

    assert note is not None
    assert "2 is 'hound' here, 'dog' in the model" in note

"""Evaluation measures the same model, whether it is a checkpoint, an archive or served."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.evaluate import main
from scripts.evaluation.predictors import Averaging, PredictionError, ServerPredictor, load
from scripts.package import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, Recipe, build
from scripts.server import Server
from tests.support import encode

ONE_VIEW = Averaging()
CAT, PERSON = 8, 15


def varied(photos: dict[str, Path], folder: Path) -> list[Path]:
    """More pictures than are asked for at once: JPEG, transparent, grey, turned by EXIF, and of odd sizes."""
    with Image.open(photos["chelsea"]) as photo:
        cat = photo.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "transparent.png": encode(cat.convert("LA")),
        "grey.png": encode(cat.convert("L").resize((333, 217))),
        "turned.jpg": encode(cat, "JPEG", exif=exif),
        "thin.webp": encode(cat.resize((401, 31)), "WEBP"),
        "tiny.bmp": encode(cat.resize((3, 2)), "BMP"),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [*photos.values(), *(folder / name for name in files)]


def test_checkpoint_archive_and_server_agree_to_the_pixel(server: Server, photos: dict[str, Path], tmp_path: Path) -> None:
    archive = build(Recipe("deeplabv3", "1.0", DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG), tmp_path)
    pictures = varied(photos, tmp_path)
    predictors = load(DEFAULT_CHECKPOINT, ONE_VIEW), load(archive, ONE_VIEW), ServerPredictor.connect(server.url, ONE_VIEW)

    assert len({predictor.labels for predictor in predictors}) == 1
    for own, packed, served in zip(*(predictor.label_maps(pictures) for predictor in predictors), strict=True):
        np.testing.assert_array_equal(packed, own)
        np.testing.assert_array_equal(served, own)


def test_a_server_is_scored_like_its_checkpoint(
    server: Server, photos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, photo in photos.items():
        (tmp_path / "images" / photo.name).write_bytes(photo.read_bytes())
        with Image.open(photo) as picture:
            mask = Image.new("L", picture.size, CAT if name == "chelsea" else PERSON)
        mask.save(tmp_path / "masks" / f"{name}.png")

    assert main(["--url", server.url, "--data", str(tmp_path)]) == 0
    served = capsys.readouterr().out
    assert main([str(DEFAULT_CHECKPOINT), "--data", str(tmp_path)]) == 0

    assert served == capsys.readouterr().out


def test_a_server_that_refuses_is_quoted(server: Server) -> None:
    with pytest.raises(PredictionError, match=r"no-such-model: answered 404 for a grey picture: .*[Mm]odel"):
        ServerPredictor.connect(server.url.replace("deeplabv3", "no-such-model"), ONE_VIEW)

"""Evaluation scores a checkpoint, an archive and a server alike."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handler.options import InferenceOptions
from scripts.evaluate.__main__ import main
from scripts.evaluate.predictors import PredictionError, Predictor, ServerPredictor, load
from scripts.server import Ports, Server, serving
from tests.archives import copy_with_settings
from tests.support import CHECKPOINT, encode, label_maps

AS_SERVED = InferenceOptions()
CAT, PERSON = 8, 15


def write_varied_pictures(photos: dict[str, Path], folder: Path) -> list[Path]:
    """Write more pictures than one call accepts: JPEG, transparent, grey, turned by EXIF, and of odd sizes."""
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


@pytest.fixture(scope="module")
def checkpoint_predictor(served_checkpoint: Path) -> Callable[[InferenceOptions], Predictor]:
    """Return a function that gives the served checkpoint's predictor with other options, converted only once."""
    predictor = load(served_checkpoint, AS_SERVED)
    return lambda options: replace(
        predictor, options=predictor.options.model_copy(update=options.model_dump(exclude_unset=True))
    )


@pytest.mark.parametrize(
    ("options", "count"),
    [
        pytest.param(AS_SERVED, None, id="as served"),
        # Four views of an image, so a single one.
        pytest.param(InferenceOptions(scales=(0.75, 1 / 0.9), flip=True), 1, id="scales and mirror images"),
    ],
)
def test_checkpoint_archive_and_server_agree_to_the_pixel(
    server: Server,
    served_archive: Path,
    checkpoint_predictor: Callable[[InferenceOptions], Predictor],
    photos: dict[str, Path],
    tmp_path: Path,
    options: InferenceOptions,
    count: int | None,
) -> None:
    require_agreement(
        [checkpoint_predictor(options), load(served_archive, options), ServerPredictor.connect(server.url, options)],
        write_varied_pictures(photos, tmp_path)[:count],
    )


def test_archive_and_server_agree_after_refinement(
    server: Server, served_archive: Path, thumbnail: bytes, tmp_path: Path
) -> None:
    pytest.importorskip("pydensecrf")
    options = InferenceOptions(refine="crf")
    picture = tmp_path / "thumbnail.png"
    picture.write_bytes(thumbnail)

    require_agreement([load(served_archive, options), ServerPredictor.connect(server.url, options)], [picture])


def test_options_default_to_the_archives_settings(
    small_archive: Path, converted: Path, photos: dict[str, Path], tmp_path: Path
) -> None:
    views: dict[str, Any] = {"scales": [0.5, 0.75], "flip": True}
    # With torch, because another output stride would have to be converted; its sums depend on the number of threads.
    engine: dict[str, Any] = {"engine": "torch", "threads": 1, "output_stride": 8}
    changes = {**engine, "inference": views}
    archive = copy_with_settings(small_archive, tmp_path, lambda settings: settings["handler"].update(changes))
    checkpoint = load(converted / CHECKPOINT, InferenceOptions(**views), **engine)

    with serving(archive, Ports.free(), tmp_path / "run", software="asgi") as server:
        served = ServerPredictor.connect(server.url, AS_SERVED)
        require_agreement([checkpoint, load(archive, AS_SERVED), served], [photos["chelsea"]])


def require_agreement(predictors: Sequence[Predictor], pictures: Sequence[Path]) -> None:
    assert len({predictor.labels for predictor in predictors}) == 1
    for reference, *maps in zip(*(label_maps(predictor, pictures) for predictor in predictors), strict=True):
        for label_map in maps:
            np.testing.assert_array_equal(label_map, reference)


def test_a_server_gets_the_scores_of_its_archive(
    server: Server, served_archive: Path, photos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    assert main([str(served_archive), "--data", str(tmp_path)]) == 0

    local = capsys.readouterr().out

    # By class, and means.
    assert served.split("\n\n")[:2] == local.split("\n\n")[:2]
    assert "a server returns only labels" in served
    assert "expected calibration error" in local


def test_a_servers_refusal_is_quoted(server: Server) -> None:
    with pytest.raises(PredictionError, match=r"no-such-model.* 404"):
        ServerPredictor.connect(server.url.replace("deeplabv3", "no-such-model"), AS_SERVED)

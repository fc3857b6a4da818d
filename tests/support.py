"""Small inputs for many tests."""

import io
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from handler.geometry import RGBImage
from handler.image.decode import ACCEPTED_FORMATS
from handler.masks.label_map import LabelMap
from model import (
    Calibration,
    CheckpointMetadata,
    ModelConfig,
    Quantization,
    ResizePolicy,
    build_model,
    load_checkpoint,
    save_checkpoint,
)
from model.palette import voc_palette

if TYPE_CHECKING:
    from scripts.evaluate.predictors import Predictor

ROOT = Path(__file__).parent.parent
CLASSES = ("background", "cat", "dog")
#: The name of the checkpoint in a folder laid out like an archive.
CHECKPOINT = "model.safetensors"
#: The transposition of an upright image that a camera stores with this EXIF orientation; 1 is upright.
AS_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def metadata(**changes: object) -> CheckpointMetadata:
    """Describe a small network of three classes."""
    values: dict[str, object] = {
        "model": ModelConfig(backbone="mobilenet_v2", num_classes=len(CLASSES), output_stride=16),
        "classes": CLASSES,
        "palette": voc_palette(len(CLASSES)),
        "resize": ResizePolicy(side="long", size=64),
        "provenance": "random weights",
        "license": "Apache-2.0",
    }
    return CheckpointMetadata.model_validate(values | changes)


def quantization() -> Quantization:
    """Return the record that a quantized checkpoint carries."""
    return Quantization(
        method="test",
        calibration="photographs",
        photographs=3,
        dataset="labelled",
        images=2,
        equal_labels=0.99,
        miou_before=0.65,
        miou_after=0.64,
    )


def calibration(temperature: float) -> Calibration:
    """Return the record that a calibrated checkpoint carries."""
    errors = {"ece_before": 0.05, "ece_after": 0.01, "nll_before": 0.3, "nll_after": 0.2}
    return Calibration(temperature=temperature, dataset="held out", images=2, pixels=1000, **errors)


def write_checkpoint(path: Path, **changes: object) -> Path:
    """Write a checkpoint with random weights, the same each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_random_checkpoint(metadata(**changes).model_dump_json()))
    return path


@lru_cache(maxsize=4)
def _random_checkpoint(serialized_metadata: str) -> bytes:
    """Return the file of a checkpoint with this metadata, cached because dozens of tests need it and it takes 0.5 s."""
    parsed = CheckpointMetadata.model_validate_json(serialized_metadata)
    with torch.random.fork_rng(), TemporaryDirectory(prefix="deeplab-test-") as folder:
        torch.manual_seed(0)
        path = Path(folder) / CHECKPOINT
        save_checkpoint(path, build_model(parsed.model), parsed)
        return path.read_bytes()


def write_graph(folder: Path) -> Path:
    """Convert `folder`'s model.safetensors to an archive's graph; return `folder`, which can now be served like an archive."""
    from handler.network.engines.archive import GRAPH
    from handler.network.engines.openvino_conversion import convert
    from handler.network.engines.openvino_graph import write_graph

    (folder / GRAPH).parent.mkdir()
    write_graph(convert(load_checkpoint(folder / CHECKPOINT)), folder / GRAPH)
    return folder


#: Formats that `encode` can write: HEIC needs a package that an older environment may lack.
ENCODED_FORMATS = tuple(name for name in ACCEPTED_FORMATS if name != "HEIF" or find_spec("pillow_heif"))


def encode(image: RGBImage | Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    """Encode an image as a file."""
    file = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    if file_format == "HEIF":
        import pillow_heif

        # Its plugin is not registered, so that nothing can depend on it.
        pillow_heif.from_pillow(picture).save(file, **options)
    else:
        picture.save(file, file_format, **options)
    return file.getvalue()


def label_maps(predictor: "Predictor", photos: Iterable[Path]) -> Iterator[LabelMap]:
    """Return the label map of each photograph, in order."""
    return (prediction.label_map for prediction in predictor.predict(photos))


def noise(height: int, width: int) -> RGBImage:
    """Return random pixels, uint8 RGB, the same each time."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)

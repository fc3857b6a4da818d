"""Small inputs that several tests share."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from handler.geometry import RGBImage
from model import CheckpointMetadata, ModelConfig, Quantization, ResizePolicy, build_model, save_checkpoint
from model.palette import voc_palette

ROOT = Path(__file__).parent.parent
CLASSES = ("background", "cat", "dog")
#: What makes of an upright picture the one that is stored with an EXIF orientation; 1 is upright.
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
    """Metadata of a small network of three classes."""
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
    """What a quantized checkpoint says."""
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


def write_checkpoint(path: Path, **changes: object) -> Path:
    """A checkpoint with random weights."""
    described = metadata(**changes)
    save_checkpoint(path, build_model(described.model), described)
    return path


def encode(image: RGBImage | Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(file, file_format, **options)
    return file.getvalue()


def noise(height: int, width: int) -> RGBImage:
    """A picture of random pixels, the same each time."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)

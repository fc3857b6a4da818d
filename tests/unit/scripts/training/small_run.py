"""A training run on small pictures of squares, and its command line."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tests.support import CLASSES

CONFIG: dict[str, Any] = {
    "model": {"backbone": "mobilenet_v2", "num_classes": 3, "output_stride": 16, "auxiliary_head": True, "aspp_channels": 32},
    "resize": {"side": "long", "size": 64, "multiple": 16},
    "epochs": 2,
    "batch_size": 4,
    "augmentation": {"crop_size": 64},
    "validation": {"held_out_every": 6},
    "ema_decay": 0.5,
    "class_balance": 0.5,
    "workers": 0,
}


def write_pets(root: Path, count: int) -> Path:
    """Write squares of one of two colours on grey: a cat is red, a dog is blue."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    rng = np.random.default_rng(0)
    for index in range(count):
        image, mask = np.full((60, 80, 3), 128, np.uint8), np.zeros((60, 80), np.uint8)
        top, left = rng.integers(0, 30, 2)
        animal = 1 + index % 2
        image[top : top + 25, left : left + 30] = (220, 30, 30) if animal == 1 else (30, 30, 220)
        mask[top : top + 25, left : left + 30] = animal
        Image.fromarray(image).save(root / "images" / f"{index:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"{index:02}.png")
    return root


def command_line(folder: Path, data: Path, name: str, *options: str, **changes: Any) -> list[str]:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changes))
    return ["--config", str(path), "--data", str(data), "--out", str(folder / name), *options]

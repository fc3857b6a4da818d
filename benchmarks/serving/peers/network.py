"""The network and the transforms of the peers: eager PyTorch in float32, torchvision's transforms."""

import argparse
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from model import Checkpoint, load_checkpoint

from model import torchvision_ops  # isort: skip  # noqa: F401

from torchvision import transforms


@dataclass(frozen=True)
class Options:
    """The command-line options of every peer."""

    checkpoint: Path
    #: Height and width of the network's input.
    size: tuple[int, int]
    port: int


def parse_options(argv: list[str] | None = None) -> Options:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args(argv)
    return Options(arguments.checkpoint, tuple(arguments.size), arguments.port)


def load(options: Options) -> Checkpoint:
    """Load the checkpoint without its auxiliary head."""
    checkpoint = load_checkpoint(options.checkpoint)
    checkpoint.network.drop_auxiliary_head()
    return checkpoint


class TutorialModel:
    """Turns a photograph into a palette PNG of its size, written as in torchvision's tutorials."""

    def __init__(self, options: Options) -> None:
        checkpoint = load(options)
        normalization = checkpoint.metadata.normalization
        self.network = checkpoint.network
        self.palette = np.asarray(checkpoint.metadata.palette, np.uint8)
        self.transform = transforms.Compose(
            [
                transforms.Resize(options.size),
                transforms.ToTensor(),
                transforms.Normalize(normalization.mean, normalization.std),
            ]
        )

    def open(self, file: bytes) -> Image.Image:
        return Image.open(io.BytesIO(file)).convert("RGB")

    def segment(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Return the labels, H×W."""
        with torch.no_grad():
            logits = self.network(self.transform(image).unsqueeze(0))["out"]
            upsampled = torch.nn.functional.interpolate(logits, image.size[::-1], mode="bilinear", align_corners=False)
            labels: npt.NDArray[np.uint8] = upsampled.argmax(1)[0].byte().numpy()
        return labels

    def encode(self, labels: npt.NDArray[np.uint8]) -> bytes:
        """Return a palette PNG."""
        mask = Image.fromarray(labels, mode="P")
        mask.putpalette(self.palette.tobytes())
        file = io.BytesIO()
        mask.save(file, "PNG")
        return file.getvalue()

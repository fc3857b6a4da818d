"""A small network, quantized only once for all tests because that takes seconds."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from handler.geometry import DecodedImage, RGBImage
from handler.image.decode import decode_image
from handler.limits import Limits
from handler.network.engines import Precision
from handler.network.tiling import resize_to_network
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model import ResizePolicy, build_model, save_checkpoint
from model.preprocessing import Normalize
from scripts.quantize.__main__ import main
from scripts.samples import write_samples
from tests.support import metadata


@dataclass(frozen=True)
class Quantized:
    """A checkpoint and its quantized copy."""

    source: Path
    #: The folder of the calibration photographs.
    photographs: Path
    #: The photographs with the network's labels, in folders images/ and masks/.
    labelled: Path
    #: Quantized on `photographs`, compared on `labelled`.
    path: Path

    @classmethod
    def in_folder(cls, folder: Path) -> "Quantized":
        """Return the paths of the files that `quantize_in` writes into `folder`."""
        return cls(folder / "a.safetensors", folder / "photographs", folder / "labelled", folder / "a.int8.safetensors")

    def pictures(self) -> list[RGBImage]:
        return [decode_image(path.read_bytes(), Limits()) for path in sorted(self.photographs.iterdir())]


def quantize_in(folder: Path) -> None:
    """Quantize a network with random weights that labels some pixels with every class."""
    files = Quantized.in_folder(folder)
    write_samples(files.photographs)
    _write_network(files)
    _write_labels(files)
    limits = ["--data", str(files.labelled), "--max-drop", "50"]
    assert main([str(files.source), "--calibration", str(files.photographs), *limits]) == 0


@cache
def pipeline(checkpoint: Path, precision: Precision = "auto") -> Pipeline:
    """Load a checkpoint once for all tests of a process: in float32, its conversion takes seconds."""
    return Pipeline.load(checkpoint, HandlerSettings(engine="openvino", precision=precision), ModelIdentity("pets", "1.0"))


def _write_network(files: Quantized) -> None:
    model = metadata().model.model_copy(update={"architecture": "deeplabv3plus", "separable": True})
    network_metadata = metadata(model=model, resize=ResizePolicy(side="long", size=96))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_model(network_metadata.model).eval()
    normalize, bias = Normalize(network_metadata.normalization), network.get_parameter("classifier.classifier.bias")
    inputs = [
        torch.from_numpy(resize_to_network(DecodedImage.from_pixels(image), network_metadata.resize).copy()[None])
        for image in files.pictures()
    ]
    with torch.inference_mode():
        means = [network(normalize(pixels))["out"].mean((0, 2, 3)) for pixels in inputs]
    with torch.no_grad():
        bias.sub_(torch.stack(means).mean(0))
    save_checkpoint(files.source, network, network_metadata)


def _write_labels(files: Quantized) -> None:
    labeller = pipeline(files.source, "float32")
    for name in ("images", "masks"):
        (files.labelled / name).mkdir(parents=True)
    for index, image in enumerate(files.pictures()):
        Image.fromarray(image).save(files.labelled / "images" / f"{index}.png")
        labels = labeller.segment(image).label_map.astype(np.uint8)
        Image.fromarray(labels).save(files.labelled / "masks" / f"{index}.png")

"""Turn weights from elsewhere into a checkpoint that can be served.

python -m scripts.import_weights torchvision:deeplabv3_resnet101
python -m scripts.import_weights my.pth --arch deeplabv3_resnet50 --classes names.txt
"""

import argparse
import pickle
import sys
import urllib.error
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model import (
    CheckpointError,
    CheckpointMetadata,
    Evaluation,
    ModelConfig,
    Normalization,
    ResizePolicy,
    build_model,
    load_state_dict,
    save_checkpoint,
)
from model.architectures import ARCHITECTURES
from model.backbones import BACKBONES
from model.palette import voc_palette
from model.strict import ConfigurationError, nearest
from scripts.class_names import read_class_names

from torchvision.models import get_model_weights

ROOT = Path(__file__).parent.parent
_SCHEME = "torchvision:"

#: Torchvision's builders and the networks they build. MobileNetV3 keeps the rates of output stride 8 at 16.
TORCHVISION_MODELS: dict[str, ModelConfig] = {
    "deeplabv3_resnet50": ModelConfig(backbone="resnet50", output_stride=8, auxiliary_head=True),
    "deeplabv3_resnet101": ModelConfig(backbone="resnet101", output_stride=8, auxiliary_head=True),
    "deeplabv3_mobilenet_v3_large": ModelConfig(
        backbone="mobilenet_v3_large", output_stride=16, atrous_rates=(12, 24, 36), auxiliary_head=True
    ),
}

#: What `--arch` can name: an architecture over a backbone, as torchvision configures it where it has it.
ARCHS: dict[str, ModelConfig] = {
    f"{architecture}_{backbone}": ModelConfig(architecture=architecture, backbone=backbone, output_stride=16)
    for architecture in ARCHITECTURES
    for backbone in BACKBONES
} | TORCHVISION_MODELS


class ImportFailed(RuntimeError):
    """Weights cannot be imported."""


def import_torchvision(name: str, out: Path) -> CheckpointMetadata:
    """Fetch torchvision's published weights (hash checked, progress shown) and write them as a checkpoint.

    Raises:
        ImportFailed: no such model, or no network.
        CheckpointError: the weights are not those of the network.
    """
    if name not in TORCHVISION_MODELS:
        raise ImportFailed(f"torchvision has no DeepLab weights called {name!r}{nearest(name, TORCHVISION_MODELS)}")
    config = TORCHVISION_MODELS[name]
    weights = get_model_weights(name).DEFAULT
    try:
        state = weights.get_state_dict(progress=True, check_hash=True)
    except (urllib.error.URLError, OSError) as error:
        raise ImportFailed(
            f"the weights of {name} cannot be fetched: {error}; they come from {weights.url}, and once that file is in "
            f"{torch.hub.get_dir()}/checkpoints no network is needed"
        ) from error
    metadata = torchvision_metadata(name, weights)
    network = build_model(config)
    load_state_dict(network, state, source=f"torchvision's {name}")
    save_checkpoint(out, network, metadata)
    return metadata


def torchvision_metadata(name: str, weights: Any) -> CheckpointMetadata:
    """What torchvision says of `weights`, in our terms."""
    preset = weights.transforms()
    classes = tuple("background" if name == "__background__" else name for name in weights.meta["categories"])
    ((dataset, figures),) = weights.meta["_metrics"].items()
    return CheckpointMetadata(
        model=TORCHVISION_MODELS[name],
        classes=classes,
        palette=voc_palette(len(classes)),
        normalization=Normalization(mean=tuple(preset.mean), std=tuple(preset.std)),
        resize=ResizePolicy(side="short", size=preset.resize_size[0]),
        evaluations=(
            Evaluation(
                dataset=dataset,
                miou=round(figures["miou"] / 100, 4),
                pixel_accuracy=round(figures["pixel_acc"] / 100, 4),
                conditions="as published by torchvision",
            ),
        ),
        provenance=f"torchvision {weights}, {weights.url}",
        license="BSD-3-Clause",
    )


def import_state_dict(path: Path, describe: Callable[[bool], CheckpointMetadata], out: Path) -> CheckpointMetadata:
    """Write the PyTorch state dict at `path` as a checkpoint. Only tensors are unpickled.

    Args:
        describe: gives the metadata, told whether the state dict has an auxiliary head.

    Raises:
        ImportFailed: not a state dict.
        CheckpointError: its keys or shapes are not those of the network that the metadata describes.
    """
    state = _read_state_dict(path)
    metadata = describe(any(name.startswith("aux_classifier.") for name in state))
    network = build_model(metadata.model)
    load_state_dict(network, state, source=str(path))
    save_checkpoint(out, network, metadata)
    return metadata


def _read_state_dict(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ImportFailed(f"{path}: no such file; to fetch torchvision's weights, write torchvision:NAME")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ImportFailed(f"{path}: not a state dict of tensors alone: {str(error).splitlines()[0]}") from error
    # Training scripts, torchvision's among them, keep the state dict beside the optimizer's.
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise ImportFailed(f"{path}: holds {type(content).__name__}, should hold a state dict: tensors by name")
    # As saved from a network wrapped in DataParallel or DistributedDataParallel.
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    source = arguments.source
    stem = source.removeprefix(_SCHEME) if source.startswith(_SCHEME) else Path(source).stem
    out = arguments.out or ROOT / "build" / "checkpoints" / f"{stem}.safetensors"
    try:
        if source.startswith(_SCHEME):
            metadata = import_torchvision(stem, out)
        else:
            for name in ("arch", "classes"):
                if getattr(arguments, name) is None:
                    parser.error(f"--{name} is needed for a state dict")
            metadata = import_state_dict(Path(source), lambda auxiliary: _metadata_from(arguments, auxiliary), out)
    except (ImportFailed, CheckpointError, ConfigurationError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{out}: {metadata.model.architecture}, {metadata.model.backbone}, {len(metadata.classes)} classes")
    print(f"serve it: make serve CHECKPOINT={out}")
    return 0


def _metadata_from(arguments: argparse.Namespace, auxiliary_head: bool) -> CheckpointMetadata:
    classes = _class_names(arguments.classes)
    given = {
        "num_classes": len(classes),
        "auxiliary_head": auxiliary_head,
        "output_stride": arguments.output_stride,
        "atrous_rates": arguments.atrous_rates,
    }
    # Another output stride than the preset's takes the paper's rates, unless some are given.
    preset = ARCHS[arguments.arch].model_dump()
    if arguments.output_stride is not None:
        preset["atrous_rates"] = None
    data = {
        "model": preset | {name: value for name, value in given.items() if value is not None},
        "classes": classes,
        "palette": voc_palette(len(classes)),
        "normalization": {"mean": arguments.mean, "std": arguments.std},
        "resize": {"side": arguments.resize_side, "size": arguments.resize},
        "provenance": arguments.provenance or f"imported from {Path(arguments.source).name}",
        "license": arguments.license,
    }
    return CheckpointMetadata.parse(data, source="arguments")


def _class_names(text: str) -> tuple[str, ...]:
    if Path(text).is_file():
        return read_class_names(Path(text))
    if "," in text:
        return tuple(name.strip() for name in text.split(","))
    raise ImportFailed(f"--classes {text}: no such file; give a file of names or the names, with commas between them")


def _parser() -> argparse.ArgumentParser:
    defaults = Normalization()
    parser = argparse.ArgumentParser(prog="python -m scripts.import_weights", description=__doc__.splitlines()[0])
    parser.add_argument("source", help=f"{_SCHEME}NAME ({', '.join(TORCHVISION_MODELS)}) or a .pth state dict")
    parser.add_argument("--out", type=Path, help="checkpoint to write; build/checkpoints/NAME.safetensors if left out")
    own = parser.add_argument_group("for a state dict")
    own.add_argument("--arch", choices=ARCHS, help="architecture and backbone")
    own.add_argument("--classes", help="file of class names (one a line, or index_to_name.json), or the names: a,b,c")
    own.add_argument("--output-stride", type=int, choices=(8, 16), help="pixels per cell of the features, if not the usual")
    own.add_argument("--atrous-rates", type=int, nargs="+", help="of ASPP, if not the usual")
    own.add_argument("--mean", type=float, nargs=3, default=defaults.mean, help="per channel, on 0..1")
    own.add_argument("--std", type=float, nargs=3, default=defaults.std, help="per channel, on 0..1")
    own.add_argument("--resize", type=int, default=520, help="pixels of the side that --resize-side names")
    own.add_argument("--resize-side", default="short", choices=("short", "long"))
    own.add_argument("--provenance", help="where the weights come from")
    own.add_argument("--license", default="unknown", help="of the weights")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Turn weights from elsewhere into a checkpoint that can be served.

python -m scripts.import_weights torchvision:deeplabv3_resnet101
python -m scripts.import_weights my.pth --arch deeplabv3plus_timm:xception65 --separable --classes names.txt
python -m scripts.import_weights FOLDER_OF_SAVE_PRETRAINED --classes names.txt
python -m scripts.import_weights checkpoint.safetensors --classes names.txt --reinitialize-classifier --out start.safetensors
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from model import ARCHITECTURES, CheckpointError, is_checkpoint
from model.backbones import BACKBONES
from model.strict import ConfigurationError
from scripts.class_names import read_class_names
from scripts.importing import foreign
from scripts.importing.foreign import Foreign, ImportFailed
from scripts.importing.smp import read_pretrained
from scripts.importing.state_dict import read_checkpoint, read_state_dict
from scripts.importing.torchvision import TORCHVISION_MODELS, read_torchvision

ROOT = Path(__file__).parent.parent
_SCHEME = "torchvision:"
#: Options that say which network a state dict is of: fields of ModelConfig.
_NETWORK_OPTIONS = ("output_stride", "atrous_rates", "multi_grid", "separable", "low_level_channels", "decoder_channels")


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    source = Path(arguments.source)
    stem = arguments.source.removeprefix(_SCHEME) if arguments.source.startswith(_SCHEME) else source.resolve().stem
    out = arguments.out or ROOT / "build" / "checkpoints" / f"{stem}.safetensors"
    try:
        if out.resolve() == source.resolve():
            raise ImportFailed(f"{out}: would be written over itself; choose another name with --out")
        weights = _read(arguments, parser)
        given, new = _given(arguments), arguments.reinitialize_classifier
        metadata, notes = foreign.write(weights, given, out, new_classifier=new)
    except (ImportFailed, CheckpointError, ConfigurationError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{out}: {metadata.model.architecture}, {metadata.model.backbone}, {len(metadata.classes)} classes")
    for note in notes:
        print(f"note: {note}")
    print(f"serve it: make serve CHECKPOINT={out}")
    return 0


def _read(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> Foreign:
    options = {name: value for name in _NETWORK_OPTIONS if (value := getattr(arguments, name)) is not None}
    path = Path(arguments.source)
    described = arguments.source.startswith(_SCHEME) or path.is_dir() or is_checkpoint(path)
    if described and (superfluous := [*(["arch"] if arguments.arch else []), *options]):
        flags = ", ".join("--" + name.replace("_", "-") for name in superfluous)
        parser.error(f"{flags}: for state dicts; {arguments.source} says itself which network it holds")
    if arguments.source.startswith(_SCHEME):
        return read_torchvision(arguments.source.removeprefix(_SCHEME))
    if path.is_dir():
        return read_pretrained(path)
    if is_checkpoint(path):
        return read_checkpoint(path)
    for name in ("arch", "classes"):
        if getattr(arguments, name) is None:
            parser.error(f"--{name} is needed for a state dict")
    return read_state_dict(path, arguments.arch, options)


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of CheckpointMetadata that were given."""
    given = {
        "classes": None if arguments.classes is None else _class_names(arguments.classes),
        "normalization": {"mean": arguments.mean, "std": arguments.std},
        "resize": {"side": arguments.resize_side, "size": arguments.resize},
        "provenance": arguments.provenance,
        "license": arguments.license,
    }
    for name in ("normalization", "resize"):
        given[name] = {key: value for key, value in given[name].items() if value is not None}
    return {name: value for name, value in given.items() if value is not None}


def _class_names(text: str) -> tuple[str, ...]:
    if Path(text).is_file():
        return read_class_names(Path(text))
    if "," in text:
        return tuple(name.strip() for name in text.split(","))
    raise ImportFailed(f"--classes {text}: no such file; give a file of names or the names, with commas between them")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.import_weights", description=__doc__.splitlines()[0])
    parser.add_argument(
        "source",
        help=f"{_SCHEME}NAME ({', '.join(TORCHVISION_MODELS)}); a folder that segmentation_models.pytorch's save_pretrained "
        "wrote; a state dict (.pth, .safetensors); or a checkpoint, for other classes",
    )
    parser.add_argument("--out", type=Path, help="checkpoint to write; build/checkpoints/NAME.safetensors if left out")
    parser.add_argument("--classes", help="file of class names (one a line, or index_to_name.json), or the names: a,b,c")
    parser.add_argument(
        "--reinitialize-classifier", action="store_true", help="begin new classifier layers for --classes, to be trained"
    )
    parser.add_argument("--mean", type=float, nargs=3, help="per channel, on 0..1; the source's, or ImageNet's")
    parser.add_argument("--std", type=float, nargs=3, help="per channel, on 0..1; the source's, or ImageNet's")
    parser.add_argument("--resize", type=int, help="pixels of the side that --resize-side names; the source's, or 520")
    parser.add_argument("--resize-side", choices=("short", "long"), help="the source's, or short")
    parser.add_argument("--provenance", help="where the weights come from")
    parser.add_argument("--license", help="of the weights")
    _add_network_options(parser.add_argument_group("for a state dict"))
    return parser


def _add_network_options(group: Any) -> None:
    group.add_argument(
        "--arch",
        metavar="ARCHITECTURE_BACKBONE",
        help=f"one of {', '.join(ARCHITECTURES)} over one of {', '.join(BACKBONES)} or timm:NAME; over an encoder's name "
        "after smp_; for example deeplabv3plus_timm:xception65",
    )
    group.add_argument("--output-stride", type=int, choices=(8, 16), help="pixels per cell of the features, if not the usual")
    group.add_argument("--atrous-rates", type=int, nargs="+", help="of ASPP, if not the usual")
    group.add_argument("--multi-grid", type=int, nargs="+", help="factors on the dilation of a ResNet's last units")
    group.add_argument("--separable", action=argparse.BooleanOptionalAction, help="depthwise separable 3×3 convolutions")
    group.add_argument("--low-level-channels", type=int, help="that DeepLabV3+'s decoder keeps of the low-level features")
    group.add_argument("--decoder-channels", type=int, help="of the decoder's 3×3 convolutions")


if __name__ == "__main__":
    sys.exit(main())

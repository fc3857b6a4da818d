"""Run the command: read weights and write them as a checkpoint."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from model import is_checkpoint
from scripts.class_names import canonical_names, read_class_names
from scripts.errors import UsageError
from scripts.import_weights.imported_weights import ImportedWeights, write_checkpoint
from scripts.import_weights.smp import read_pretrained
from scripts.import_weights.state_dict import read_checkpoint, read_state_dict
from scripts.import_weights.torchvision import read_torchvision
from scripts.import_weights.torchvision_models import SCHEME

ROOT = Path(__file__).parents[2]
#: Options that describe a state dict's network; they are fields of ModelConfig.
_NETWORK_OPTIONS = (
    "output_stride",
    "atrous_rates",
    "multi_grid",
    "separable",
    "low_level_channels",
    "low_level_tap",
    "decoder_channels",
    "head_convolutions",
    "aspp_channels",
    "aspp_fusion",
    "align_corners",
    "legacy_resize",
    "trailing_padding",
)


def run_command(arguments: Namespace) -> None:
    """Convert the weights that the command line names.

    Args:
        arguments: parsed arguments of `python -m scripts.import_weights`.

    Raises:
        UserError, ConfigurationError, CheckpointError: the weights or the options cannot be used.
    """
    source = Path(arguments.source)
    stem = arguments.source.removeprefix(SCHEME) if arguments.source.startswith(SCHEME) else source.resolve().stem
    out = arguments.out or ROOT / "build" / "checkpoints" / f"{stem}.safetensors"
    if out.resolve() == source.resolve():
        raise UsageError(f"--out {out}: is the source itself; choose another name")
    weights = _read_weights(arguments)
    overrides, new_classifier = _overrides(arguments), arguments.reinitialize_classifier
    metadata, notes = write_checkpoint(weights, overrides, out, new_classifier=new_classifier)
    print(f"{out}: {metadata.model.architecture}, {metadata.model.backbone}, {len(metadata.classes)} classes")
    for note in notes:
        print(f"note: {note}")
    print(f"serve it: make serve CHECKPOINT={out}")


def _read_weights(arguments: Namespace) -> ImportedWeights:
    options = {name: value for name in _NETWORK_OPTIONS if (value := getattr(arguments, name)) is not None}
    path = Path(arguments.source)
    is_self_describing = arguments.source.startswith(SCHEME) or path.is_dir() or is_checkpoint(path)
    named_options = [name for name in ("arch", "key") if getattr(arguments, name)]
    if is_self_describing and (superfluous := [*named_options, *options]):
        flags = ", ".join("--" + name.replace("_", "-") for name in superfluous)
        raise UsageError(f"{flags}: only for state dicts; {arguments.source} describes its network itself")
    if arguments.source.startswith(SCHEME):
        return read_torchvision(arguments.source.removeprefix(SCHEME))
    if path.is_dir():
        return read_pretrained(path)
    if is_checkpoint(path):
        return read_checkpoint(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file; to fetch torchvision's weights, write {SCHEME}NAME")
    for name in ("arch", "classes"):
        if getattr(arguments, name) is None:
            raise UsageError(f"--{name} is required for a state dict")
    return read_state_dict(path, arguments.arch, options, arguments.key)


def _overrides(arguments: Namespace) -> dict[str, Any]:
    """Return the fields of CheckpointMetadata that the command line sets."""
    fields = {
        "classes": None if arguments.classes is None else _class_names(arguments.classes),
        "normalization": {"mean": arguments.mean, "std": arguments.std},
        "resize": {"side": arguments.resize_side, "size": arguments.resize},
        "provenance": arguments.provenance,
        "license": arguments.license,
    }
    for name in ("normalization", "resize"):
        fields[name] = {key: value for key, value in fields[name].items() if value is not None}
    return {name: value for name, value in fields.items() if value is not None}


def _class_names(text: str) -> tuple[str, ...]:
    if Path(text).is_file():
        return read_class_names(Path(text))
    if "," in text:
        return canonical_names(name.strip() for name in text.split(","))
    raise UsageError(f"--classes {text}: no such file; give a file of names, or names separated by commas")

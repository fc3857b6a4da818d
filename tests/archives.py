"""Archives with other settings, class names or sizes, without building them again."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

_CONFIG = "model-config.yaml"
_CHECKPOINT = "model.safetensors"


def copy_with_settings(archive: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Copy `archive` into `folder` and let `change` alter its model-config.yaml; packaging's measurements are kept."""

    def edit(content: bytes) -> bytes:
        settings = yaml.safe_load(content)
        change(settings)
        return yaml.safe_dump(settings).encode()

    return _copy_edited(archive, folder, _CONFIG, edit)


def copy_with_class_names(archive: Path, folder: Path, replacements: Mapping[str, str]) -> Path:
    """Copy `archive` into `folder` and replace names of classes in its checkpoint; the network stays the same."""

    def rename(metadata: dict[str, Any]) -> None:
        metadata["classes"] = [replacements.get(name, name) for name in metadata["classes"]]

    return _copy_with_metadata(archive, folder, rename)


def copy_with_size(archive: Path, folder: Path, size: int) -> Path:
    """Copy `archive` into `folder` and replace the side in pixels to which its checkpoint has images resized."""
    return _copy_with_metadata(archive, folder, lambda metadata: metadata["resize"].update(size=size))


def _copy_with_metadata(archive: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    def edit(content: bytes) -> bytes:
        # A safetensors file is the length of its header, the header in JSON, and the tensors.
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        metadata = json.loads(header["__metadata__"]["deeplab"])
        change(metadata)
        header["__metadata__"]["deeplab"] = json.dumps(metadata)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + content[end:]

    return _copy_edited(archive, folder, _CHECKPOINT, edit)


def _copy_edited(archive: Path, folder: Path, file: str, edit: Callable[[bytes], bytes]) -> Path:
    target = folder / archive.name
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            copy.writestr(name, edit(content) if name == file else content)
    return target

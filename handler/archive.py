"""Read a model archive: its checkpoint, the model's name and version, and the settings."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from handler.drift import Reference
from handler.observation import BOUNDS
from handler.options import ModelIdentity
from handler.settings import HandlerSettings
from model.strict import ConfigurationError

_MANIFEST = Path("MAR-INF", "MANIFEST.json")
#: Statistics of the images on which the model was accepted; relative to the archive's root.
REFERENCE = Path("monitoring", "reference.json")


@dataclass(frozen=True)
class ModelArchive:
    """An archive extracted to `folder`."""

    folder: Path
    checkpoint: Path
    identity: ModelIdentity
    settings: HandlerSettings
    #: The most requests that a server passes to the handler together.
    batch_size: int = 1


def read_archive(folder: Path) -> ModelArchive:
    """Read the manifest and the model-config.yaml of an extracted archive.

    Raises:
        ConfigurationError: `folder` is not an archive of this project, or its settings cannot be used.
    """
    try:
        model = json.loads((folder / _MANIFEST).read_bytes())["model"]
        identity = ModelIdentity(model["modelName"], model["modelVersion"])
        checkpoint, config_path = folder / model["serializedFile"], folder / model["configFile"]
        config = yaml.safe_load(config_path.read_bytes()) or {}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{folder}: not a model archive of this project: {error!r}") from error
    return ModelArchive(folder, checkpoint, identity, parse_settings(config), config.get("batchSize", 1))


def parse_settings(config: dict[str, Any]) -> HandlerSettings:
    """Validate the section `handler` of a model-config.yaml.

    Raises:
        ConfigurationError: it has an unknown key or a bad value.
    """
    return HandlerSettings.parse(config.get("handler") or {}, source="model-config.yaml, section 'handler'")


def read_reference(folder: Path, classes: int) -> Reference | None:
    """Return the reference recorded in an extracted archive, or None if it has none.

    Raises:
        ConfigurationError: the reference lacks this version's quantities or does not have `classes` classes.
    """
    path = folder / REFERENCE
    if not path.is_file():
        return None
    try:
        reference = TypeAdapter(Reference).validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigurationError(f"{path}: not a reference: {error}") from error
    actual = {name: len(counts) for name, counts in reference.distribution.bins.items()}
    expected = {name: len(bounds) + 1 for name, bounds in BOUNDS.items()}
    shares = len(reference.distribution.shares)
    if actual != expected or shares != classes:
        raise ConfigurationError(
            f"{path}: has bins {actual} and {shares} classes, should have {expected} and {classes}; "
            "package the model again with --reference"
        )
    return reference


def extract_archive(path: Path, folder: Path) -> ModelArchive:
    """Extract the `.mar` file at `path` into the existing `folder` and read it.

    Raises:
        ConfigurationError: `path` is not an archive of this project, or its settings cannot be used.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"{path}: not a model archive: {error}") from error
    return read_archive(folder)

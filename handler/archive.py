"""Read a model archive: which checkpoint it serves, under what name, with what settings."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from handler.options import ModelIdentity
from handler.settings import HandlerSettings
from model.strict import ConfigurationError

_MANIFEST = Path("MAR-INF", "MANIFEST.json")


@dataclass(frozen=True)
class ModelArchive:
    """An archive extracted to `folder`."""

    folder: Path
    checkpoint: Path
    identity: ModelIdentity
    settings: HandlerSettings
    #: The most requests that a server hands over together.
    batch_size: int = 1


def read_archive(folder: Path) -> ModelArchive:
    """Read the manifest and the model-config.yaml of an extracted archive.

    Raises:
        ConfigurationError: `folder` is not an archive of this project, or its settings cannot be used.
    """
    try:
        model = json.loads((folder / _MANIFEST).read_bytes())["model"]
        identity = ModelIdentity(model["modelName"], model["modelVersion"])
        checkpoint, config = folder / model["serializedFile"], folder / model["configFile"]
        served = yaml.safe_load(config.read_bytes()) or {}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{folder}: not a model archive of this project: {error!r}") from error
    return ModelArchive(folder, checkpoint, identity, parse_settings(served), served.get("batchSize", 1))


def parse_settings(served: dict[str, Any]) -> HandlerSettings:
    """Validate the section `handler` of a model-config.yaml.

    Raises:
        ConfigurationError: it has an unknown key or a bad value.
    """
    return HandlerSettings.parse(served.get("handler") or {}, source="model-config.yaml, section 'handler'")


def extract_archive(path: Path, folder: Path) -> ModelArchive:
    """Extract the `.mar` file at `path` into `folder`, which exists, and read it.

    Raises:
        ConfigurationError: `path` is not an archive of this project, or its settings cannot be used.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"{path}: not a model archive: {error}") from error
    return read_archive(folder)

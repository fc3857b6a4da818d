"""Read and write configuration files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from model.strict import ConfigurationError


def read_mapping(path: Path) -> dict[str, Any]:
    """Read the mapping in the YAML file at `path`.

    Raises:
        ConfigurationError: the file cannot be read, or does not hold a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: holds {type(content).__name__}, should be a mapping")
    return content


def write_mapping(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` as YAML, keeping the order of its keys."""
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False))

"""Read and write configuration files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from model.strict import ConfigurationError


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that the YAML file at `path` holds.

    Raises:
        ConfigurationError: if it cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: holds {type(content).__name__}, should be a mapping")
    return content


def write_mapping(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` as YAML, with its keys in order."""
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False))

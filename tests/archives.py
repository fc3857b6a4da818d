"""Archives with other settings, without building them again."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

_CONFIG = "model-config.yaml"


def reconfigured(archive: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Copy `archive` into `folder` and let `change` alter its model-config.yaml; packaging's measurements are kept."""
    target = folder / archive.name
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if name == _CONFIG:
                settings = yaml.safe_load(content)
                change(settings)
                content = yaml.safe_dump(settings).encode()
            copy.writestr(name, content)
    return target

"""Model repositories for OpenVINO Model Server.

A repository holds config.json, which lists the models, and NAME/1/model.xml with its model.bin.
"""

import json
from pathlib import Path
from typing import Any

from scripts.export.errors import ExportError
from scripts.export.openvino_format import FLOAT32

CONFIG = "config.json"
_LIST = "model_config_list"


def updated_configuration(path: Path, name: str) -> str:
    """Return the text of the configuration at `path`, which need not exist, with an entry for the model `name`.

    Entries for other models, and everything else, are kept.

    Raises:
        ExportError: the file is not a configuration of OpenVINO Model Server.
    """
    configuration = _read_configuration(path) if path.exists() else {_LIST: []}
    other_entries = [entry for entry in configuration[_LIST] if entry["config"].get("name") != name]
    configuration[_LIST] = [*other_entries, {"config": model_entry(name)}]
    return json.dumps(configuration, indent=2, ensure_ascii=False) + "\n"


def model_entry(name: str) -> dict[str, Any]:
    """Return the model's entry in the configuration; its path is relative to the file's folder."""
    return {
        "name": name,
        "base_path": name,
        "shape": "(-1,-1,-1,3)",
        # As compared with torch: other devices, and bfloat16, give different labels.
        "target_device": "CPU",
        "plugin_config": FLOAT32,
    }


def _read_configuration(path: Path) -> dict[str, Any]:
    try:
        configuration: dict[str, Any] = json.loads(path.read_bytes())
        entries = configuration[_LIST]
        valid = isinstance(entries, list) and all(isinstance(entry["config"], dict) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path}: not a configuration of OpenVINO Model Server: {error!r}") from error
    if not valid:
        raise ExportError(f"{path}: its {_LIST!r} must be a list of objects with 'config'")
    return configuration

"""The text files and folders of model repositories."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from scripts.export.errors import ExportError
from scripts.export.network import describe
from scripts.export.ovms import CONFIG, updated_configuration
from scripts.export.targets import add_folder
from scripts.export.triton import model_configuration
from tests.support import metadata

CLIENTS = Path(sys.prefix) / "clients"
#: Reads a ModelConfig in protobuf's text format from standard input and prints it as JSON.
READ_MODEL_CONFIG = """
import sys
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
print(json_format.MessageToJson(text_format.Parse(sys.stdin.read(), ModelConfig()), preserving_proto_field_name=True))
"""

_NAMED_SHAPES = {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]}
#: The only keys that OpenVINO Model Server's documentation of its configuration file (2026) allows for a model.
OVMS_SCHEMA = {
    "type": "object",
    "required": ["model_config_list"],
    "properties": {
        "model_config_list": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["config"],
                "additionalProperties": False,
                "properties": {
                    "config": {
                        "type": "object",
                        "required": ["name", "base_path"],
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"},
                            "base_path": {"type": "string"},
                            "batch_size": {"type": ["integer", "string"]},
                            "model_version_policy": {"type": "object"},
                            "shape": _NAMED_SHAPES,
                            "layout": _NAMED_SHAPES,
                            "nireq": {"type": "integer", "minimum": 0},
                            "target_device": {"type": "string"},
                            "allow_cache": {"type": "boolean"},
                            "plugin_config": {
                                "type": "object",
                                "additionalProperties": {"type": ["string", "boolean", "number"]},
                            },
                        },
                    }
                },
            },
        },
        "mediapipe_config_list": {"type": "array"},
    },
    "additionalProperties": False,
}


@pytest.mark.slow
@pytest.mark.skipif(not (CLIENTS / ".installed").exists(), reason="tritonclient is not installed; `make test` does")
def test_tritons_protobuf_message_parses_the_configuration() -> None:
    model_metadata = metadata(
        classes=("background", 'a "quoted" \\ name', "two\nlines"), provenance="Straße\n\x7f, line\u2028two \x01"
    )

    result = subprocess.run(
        [CLIENTS / "bin" / "python", "-c", READ_MODEL_CONFIG],
        input=model_configuration("pets-2", model_metadata),
        check=True,
        capture_output=True,
        text=True,
    )

    assert json.loads(result.stdout) == {
        "name": "pets-2",
        "backend": "onnxruntime",
        "max_batch_size": 8,
        "input": [{"name": "image", "data_type": "TYPE_UINT8", "format": "FORMAT_NHWC", "dims": ["-1", "-1", "3"]}],
        "output": [
            {"name": "label_map", "data_type": "TYPE_UINT8", "dims": ["-1", "-1"]},
            {"name": "logits", "data_type": "TYPE_FP32", "dims": ["3", "-1", "-1"]},
        ],
        "dynamic_batching": {},
        "parameters": {key: {"string_value": value} for key, value in describe(model_metadata).items()},
    }


def test_the_configuration_for_ovms_follows_its_schema_and_keeps_other_models(tmp_path: Path) -> None:
    path = tmp_path / CONFIG
    path.write_text(updated_configuration(path, "rooms"))
    before = json.loads(path.read_text()) | {"mediapipe_config_list": [{"name": "graph"}]}
    before["model_config_list"][0]["config"]["nireq"] = 4
    path.write_text(json.dumps(before))

    for _ in range(2):
        path.write_text(updated_configuration(path, "pets"))

    after = json.loads(path.read_text())
    jsonschema.validate(after, OVMS_SCHEMA)
    assert [entry["config"]["name"] for entry in after["model_config_list"]] == ["rooms", "pets"]
    assert after["model_config_list"][0] == before["model_config_list"][0]
    assert after["mediapipe_config_list"] == before["mediapipe_config_list"]
    entry = after["model_config_list"][1]["config"]
    assert (entry["base_path"], entry["shape"]) == ("pets", "(-1,-1,-1,3)")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"model_config_list": {}}', '{"model_config_list": [{"name": "a"}]}', "\xff"]
)
def test_an_invalid_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / CONFIG
    path.write_text(text, "latin-1")

    with pytest.raises(ExportError, match=r"config\.json: .*(OpenVINO Model Server|model_config_list)"):
        updated_configuration(path, "pets")


def test_a_new_folder_is_added_completely_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        add_folder(tmp_path / "pets", {"1/model.onnx": b"graph", "config.pbtxt": None})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []

    add_folder(tmp_path / "pets", {"1/model.onnx": b"graph", "config.pbtxt": b""})
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_adding_a_version_keeps_earlier_ones(tmp_path: Path) -> None:
    for version in (b"1", b"2"):
        add_folder(tmp_path / "pets", {f"{version.decode()}/model.onnx": version, "config.pbtxt": version})

    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"pets/1/model.onnx": b"1", "pets/2/model.onnx": b"2", "pets/config.pbtxt": b"2"}

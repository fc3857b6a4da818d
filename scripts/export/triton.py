"""Model repositories for Triton Inference Server's ONNX Runtime backend.

NAME/ in a repository holds config.pbtxt and 1/model.onnx.
"""

import re

from model.metadata import CheckpointMetadata
from scripts.export.network import IMAGE, LABEL_MAP, LOGITS, describe, label_type

CONFIG = "config.pbtxt"
#: Requests of one size that Triton may run together, which is faster on a GPU.
_MAX_BATCH = 8


def model_configuration(name: str, metadata: CheckpointMetadata) -> str:
    """Return the text of `config.pbtxt`, a `ModelConfig` in protobuf's text format, whose shapes leave out the batch.

    Triton's clients cannot read the graph's metadata, but they can read the configuration, so its parameters repeat them. Class
    names are there rather than in a `label_filename`, whose lines Triton assigns to positions in a flattened tensor.
    """
    labels = str(label_type(metadata)).removeprefix("torch.").upper()
    return f"""\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {_MAX_BATCH}
input [
  {{
    name: "{IMAGE}"
    data_type: TYPE_UINT8
    format: FORMAT_NHWC
    dims: [ -1, -1, 3 ]
  }}
]
output [
  {{
    name: "{LABEL_MAP}"
    data_type: TYPE_{labels}
    dims: [ -1, -1 ]
  }},
  {{
    name: "{LOGITS}"
    data_type: TYPE_FP32
    dims: [ {metadata.model.num_classes}, -1, -1 ]
  }}
]
# Runs waiting requests of one size together.
dynamic_batching {{ }}
# About the model, for clients: GET /v2/models/{name}/config shows it.
{"".join(_parameter(key, value) for key, value in describe(metadata).items())}"""


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{_escape(value)}" }} }}\n'


def _escape(text: str) -> str:
    """Escape `text` for a quoted string in protobuf's text format; control characters become octal escapes."""
    return re.sub(r'[\x00-\x1f"\\]', lambda match: "\\" + (match[0] if match[0] >= " " else f"{ord(match[0]):03o}"), text)

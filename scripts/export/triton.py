"""A model repository of Triton Inference Server, for its ONNX Runtime backend.

REPOSITORY/NAME/config.pbtxt, labels.txt and 1/model.onnx.
"""

from model.metadata import CheckpointMetadata
from scripts.export.network import IMAGE, LABEL_MAP, LOGITS, label_type

LABELS_FILE = "labels.txt"
#: Requests of one size that Triton may run together, which pays on a GPU.
_MAX_BATCH = 8


def triton_files(name: str, metadata: CheckpointMetadata) -> dict[str, str]:
    """Return the text files beside the versions of a model called `name`, by file name."""
    lines = "".join(f"{' '.join(label.split())}\n" for label in metadata.classes)
    return {LABELS_FILE: lines, "config.pbtxt": model_configuration(name, metadata)}


def model_configuration(name: str, metadata: CheckpointMetadata) -> str:
    """Return the text of a `config.pbtxt`: a `ModelConfig` in protobuf's text format. Its shapes leave out the batch."""
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
    # Line i of the file is the class of channel i, and of label i.
    name: "{LOGITS}"
    data_type: TYPE_FP32
    dims: [ {metadata.model.num_classes}, -1, -1 ]
    label_filename: "{LABELS_FILE}"
  }}
]
# Runs waiting requests of one size together.
dynamic_batching {{ }}
"""

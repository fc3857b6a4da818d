"""The exported network, from pixels to labels, and the description stored in its file."""

import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from handler.network.engines.openvino_conversion import PixelsToLogits
from model.checkpoint import Checkpoint
from model.metadata import CheckpointMetadata
from model.resize import resize_bilinear

#: Names of the tensors; this project's servers also use `image` and `label_map` in KServe v2.
IMAGE, LABEL_MAP, LOGITS = "image", "label_map", "logits"
OUTPUTS = (LABEL_MAP, LOGITS)
#: The dynamic dimensions, by index.
FREE_DIMENSIONS = {
    IMAGE: {0: "batch", 1: "height", 2: "width"},
    LABEL_MAP: {0: "batch", 1: "height", 2: "width"},
    LOGITS: {0: "batch", 2: "rows", 3: "columns"},
}
#: Metadata left out of exports: the checkpoint file's format, the normalization, which is in the graph, and quantization.
_EXCLUDED_FIELDS = {"format_version", "normalization", "quantization"}


class PixelsToLabels(nn.Module):
    """Normalizes pixels, runs a checkpoint's network and labels every pixel of its input."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.pixels_to_logits = PixelsToLogits(checkpoint)
        self.label_type = label_type(checkpoint.metadata)
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 RGB, B×H×W×3, to labels, B×H×W, and float32 logits, B×classes×h×w, on the network's grid."""
        logits = self.pixels_to_logits(pixels)
        enlarged = resize_bilinear(logits, pixels.shape[1:3], "half_pixel")
        return enlarged.argmax(1).to(self.label_type), logits


def label_type(metadata: CheckpointMetadata) -> torch.dtype:
    """Return the type of labels: uint8 if it can hold the classes, else int32, as torch's ONNX exporter lacks uint16."""
    return torch.uint8 if metadata.model.num_classes <= 256 else torch.int32


def describe(metadata: CheckpointMetadata) -> Mapping[str, str]:
    """Return the metadata stored in the file: strings unchanged, everything else as JSON."""
    fields = metadata.model_dump(mode="json", exclude_none=True, exclude=_EXCLUDED_FIELDS)
    texts = {name: field if isinstance(field, str) else json.dumps(field, ensure_ascii=False) for name, field in fields.items()}
    return {"usage": ". ".join(describe_tensors(metadata)), **texts}


def describe_tensors(metadata: CheckpointMetadata) -> tuple[str, ...]:
    """Return descriptions of the input and each output, as sentences without full stops."""
    model = metadata.model
    sides = f"sides that are multiples of {model.output_stride}" if model.is_smp else "any size"
    labels = str(label_type(metadata)).removeprefix("torch.")
    return (
        f"{IMAGE}: uint8 RGB [batch, height, width, 3], 0 to 255, {sides}, resized as the metadata's 'resize' says",
        f"{LABEL_MAP}: {labels} [batch, height, width], the index of a class for every pixel of {IMAGE}",
        f"{LOGITS}: float32 [batch, {model.num_classes}, rows, columns], on the network's grid with half-pixel centres",
    )

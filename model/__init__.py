"""DeepLab networks, usable without the handler.

>>> from model import DeepLabV3
>>> network = DeepLabV3("resnet50", num_classes=21, output_stride=8)
"""

from model.architectures import ARCHITECTURES, Architecture
from model.aspp import ASPP, ASPPConv, ASPPPooling
from model.build import Network, build_model
from model.checkpoint import (
    Checkpoint,
    CheckpointError,
    QuantizedGraph,
    add_quantized_graph,
    is_checkpoint,
    load_checkpoint,
    load_state_dict,
    read_metadata,
    read_quantized_graph,
    replace_metadata,
    save_checkpoint,
)
from model.config import ModelConfig
from model.decoder import DeepLabPlusHead
from model.deeplab import DeepLab, DeepLabV1, DeepLabV2, DeepLabV3, DeepLabV3Plus
from model.heads import AtrousSumHead, DeepLabHead, FCNHead, LargeFOVHead
from model.metadata import Calibration, CheckpointMetadata, Evaluation, Normalization, Quantization, ResizePolicy

__all__ = [
    "ARCHITECTURES",
    "ASPP",
    "ASPPConv",
    "ASPPPooling",
    "Architecture",
    "AtrousSumHead",
    "Calibration",
    "Checkpoint",
    "CheckpointError",
    "CheckpointMetadata",
    "DeepLab",
    "DeepLabHead",
    "DeepLabPlusHead",
    "DeepLabV1",
    "DeepLabV2",
    "DeepLabV3",
    "DeepLabV3Plus",
    "Evaluation",
    "FCNHead",
    "LargeFOVHead",
    "ModelConfig",
    "Network",
    "Normalization",
    "Quantization",
    "QuantizedGraph",
    "ResizePolicy",
    "add_quantized_graph",
    "build_model",
    "is_checkpoint",
    "load_checkpoint",
    "load_state_dict",
    "read_metadata",
    "read_quantized_graph",
    "replace_metadata",
    "save_checkpoint",
]

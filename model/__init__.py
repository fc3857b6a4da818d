"""DeepLab networks, usable without the handler.

>>> from model import DeepLabV3
>>> network = DeepLabV3("resnet50", num_classes=21, output_stride=8)
"""

# First, because every other module here imports torchvision.
from model import torchvision_ops  # isort: skip

from model.aspp import ASPP, ASPPConv, ASPPPooling
from model.checkpoint import (
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    load_state_dict,
    read_metadata,
    replace_metadata,
    save_checkpoint,
)
from model.config import ModelConfig
from model.deeplab import ARCHITECTURES, DeepLabV3, build_model
from model.heads import DeepLabHead, FCNHead
from model.metadata import CheckpointMetadata, Evaluation, Normalization, ResizePolicy

__all__ = [
    "ARCHITECTURES",
    "ASPP",
    "ASPPConv",
    "ASPPPooling",
    "Checkpoint",
    "CheckpointError",
    "CheckpointMetadata",
    "DeepLabHead",
    "DeepLabV3",
    "Evaluation",
    "FCNHead",
    "ModelConfig",
    "Normalization",
    "ResizePolicy",
    "build_model",
    "load_checkpoint",
    "load_state_dict",
    "read_metadata",
    "replace_metadata",
    "save_checkpoint",
    "torchvision_ops",
]

"""DeepLab networks, usable without the handler.

>>> from model import DeepLabV3
>>> network = DeepLabV3("resnet50", num_classes=21, output_stride=8)

Modules are imported on first use of their names: a server that runs a packaged graph reads metadata, but needs no PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.architectures import ARCHITECTURES as ARCHITECTURES
    from model.architectures import Architecture as Architecture
    from model.aspp import ASPP as ASPP
    from model.aspp import ASPPConv as ASPPConv
    from model.aspp import ASPPPooling as ASPPPooling
    from model.build import Network as Network
    from model.build import build_model as build_model
    from model.build import build_on_meta_device as build_on_meta_device
    from model.build import state_shapes as state_shapes
    from model.checkpoint import Checkpoint as Checkpoint
    from model.checkpoint import add_quantized_graph as add_quantized_graph
    from model.checkpoint import load_checkpoint as load_checkpoint
    from model.checkpoint import load_state_dict as load_state_dict
    from model.checkpoint import replace_metadata as replace_metadata
    from model.checkpoint import save_checkpoint as save_checkpoint
    from model.checkpoint import save_state as save_state
    from model.checkpoint_file import CheckpointError as CheckpointError
    from model.checkpoint_file import QuantizedGraph as QuantizedGraph
    from model.checkpoint_file import is_checkpoint as is_checkpoint
    from model.checkpoint_file import read_metadata as read_metadata
    from model.checkpoint_file import read_quantized_graph as read_quantized_graph
    from model.config import ModelConfig as ModelConfig
    from model.decoder import DeepLabPlusHead as DeepLabPlusHead
    from model.deeplab import DeepLab as DeepLab
    from model.deeplab import DeepLabV1 as DeepLabV1
    from model.deeplab import DeepLabV2 as DeepLabV2
    from model.deeplab import DeepLabV3 as DeepLabV3
    from model.deeplab import DeepLabV3Plus as DeepLabV3Plus
    from model.heads import AtrousSumHead as AtrousSumHead
    from model.heads import DeepLabHead as DeepLabHead
    from model.heads import FCNHead as FCNHead
    from model.heads import LargeFOVHead as LargeFOVHead
    from model.metadata import Calibration as Calibration
    from model.metadata import CheckpointMetadata as CheckpointMetadata
    from model.metadata import Evaluation as Evaluation
    from model.metadata import Normalization as Normalization
    from model.metadata import Quantization as Quantization
    from model.metadata import ResizePolicy as ResizePolicy

_EXPORTS = {
    "architectures": ("ARCHITECTURES", "Architecture"),
    "aspp": ("ASPP", "ASPPConv", "ASPPPooling"),
    "build": ("Network", "build_model", "build_on_meta_device", "state_shapes"),
    "checkpoint": (
        "Checkpoint",
        "add_quantized_graph",
        "load_checkpoint",
        "load_state_dict",
        "replace_metadata",
        "save_checkpoint",
        "save_state",
    ),
    "checkpoint_file": ("CheckpointError", "QuantizedGraph", "is_checkpoint", "read_metadata", "read_quantized_graph"),
    "config": ("ModelConfig",),
    "decoder": ("DeepLabPlusHead",),
    "deeplab": ("DeepLab", "DeepLabV1", "DeepLabV2", "DeepLabV3", "DeepLabV3Plus"),
    "heads": ("AtrousSumHead", "DeepLabHead", "FCNHead", "LargeFOVHead"),
    "metadata": ("Calibration", "CheckpointMetadata", "Evaluation", "Normalization", "Quantization", "ResizePolicy"),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _EXPORTS.items() for name in names}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value

"""The registry of architectures. It does not import networks; a class is imported when a model is built."""

import importlib
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Architecture:
    """One entry of the registry.

    To add an architecture, write its class (see `model.deeplab.DeepLabV3`) and add an entry to `ARCHITECTURES`.
    """

    #: Dotted name of the module that defines the class.
    module: str
    class_name: str
    #: The output stride its paper uses.
    usual_output_stride: Literal[8, 16] = 16
    #: Whether segmentation_models.pytorch builds it. Such networks only accept inputs whose sides are multiples of their output
    #: stride, and their weights only fit the output stride they were trained at.
    is_smp: bool = False

    def load(self) -> Any:
        """Import and return the class."""
        return getattr(importlib.import_module(self.module), self.class_name)


ARCHITECTURES: dict[str, Architecture] = {
    "deeplabv1": Architecture("model.deeplab", "DeepLabV1", usual_output_stride=8),
    "deeplabv2": Architecture("model.deeplab", "DeepLabV2", usual_output_stride=8),
    "deeplabv3": Architecture("model.deeplab", "DeepLabV3"),
    "deeplabv3plus": Architecture("model.deeplab", "DeepLabV3Plus"),
    "smp_deeplabv3": Architecture("model.smp", "SmpDeepLabV3", usual_output_stride=8, is_smp=True),
    "smp_deeplabv3plus": Architecture("model.smp", "SmpDeepLabV3Plus", is_smp=True),
}

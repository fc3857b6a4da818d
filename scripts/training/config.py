"""A training run's configuration, read from YAML."""

from pathlib import Path

from pydantic import Field

from model.config import ModelConfig
from model.metadata import Normalization, ResizePolicy
from model.strict import StrictModel
from scripts.yaml_file import read_mapping


class TrainingConfig(StrictModel):
    """What is trained, on which crops and at which rates. Learning rates fall as `(1 - iteration / last) ** 0.9`."""

    model: ModelConfig
    normalization: Normalization
    resize: ResizePolicy
    provenance: str
    license: str

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    #: Side of the square training crop, in pixels.
    crop_size: int = Field(ge=64)
    #: Range of the long side before cropping, as a share of the served resolution.
    scale_range: tuple[float, float] = (0.5, 2.0)
    backbone_learning_rate: float = Field(gt=0)
    head_learning_rate: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=4e-5, ge=0)
    #: The most that the gradient's norm may be. The start's activations are large, so a single crop could throw it far off.
    clip_norm: float = Field(default=1.0, gt=0)
    #: Weight of the divergence from the start's own answer, which keeps classes of a handful of images from being forgotten.
    distillation_weight: float = Field(default=1.0, ge=0)
    #: Every n-th training image is held out, to choose the epoch by.
    held_out_every: int = Field(default=10, ge=2)
    workers: int = Field(default=2, ge=0)
    seed: int = 0

    @classmethod
    def read(cls, path: Path) -> "TrainingConfig":
        """Raises: ConfigurationError, naming the file and what is wrong in it."""
        return cls.parse(read_mapping(path), source=str(path))

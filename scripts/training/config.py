"""A training run's configuration, read from YAML."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from model.config import ModelConfig
from model.metadata import Fraction, Normalization, ResizePolicy
from model.strict import StrictModel
from scripts.training.augmentation import AugmentationConfig
from scripts.training.losses import LossConfig
from scripts.yaml_file import read_mapping


class OptimizerConfig(StrictModel):
    """How weights are changed; the rates fall as `(1 - iteration / last) ** power` (Chen et al. 2017, section 4.1)."""

    #: Stochastic gradient descent with momentum, or AdamW, which bears activations of very different sizes better.
    kind: Literal["sgd", "adamw"] = "sgd"
    backbone_learning_rate: float = Field(default=0.001, gt=0)
    head_learning_rate: float = Field(default=0.01, gt=0)
    #: Of SGD.
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    power: float = Field(default=0.9, ge=0)
    #: Iterations in which the rates rise to their full values.
    warm_up: int = Field(default=0, ge=0)
    #: The most that the gradient's norm may be; left out: not bounded.
    clip_norm: float | None = Field(default=None, gt=0)


class DistillationConfig(StrictModel):
    """Learning from a teacher's answers beside the annotations."""

    #: Of the divergence from the teacher, beside the loss.
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)


class ValidationConfig(StrictModel):
    """What the network is measured on while it learns, and how the best evaluation is told."""

    #: A split of the data; left out: `val`, where the data have splits of the names `train` and `val`.
    split: str | None = None
    #: Without such a split every n-th training image is held out.
    held_out_every: int = Field(default=10, ge=2)
    #: Classes in fewer validation images do not count when the best is chosen: one image would decide.
    least_images: int = Field(default=1, ge=1)


class TrainingConfig(StrictModel):
    """What is trained, on what, and how."""

    model: ModelConfig
    normalization: Normalization = Normalization()
    resize: ResizePolicy = ResizePolicy()
    #: Class names; left out: those that come with the data, or PASCAL VOC's for its layout.
    classes: tuple[str, ...] | None = None
    provenance: str | None = None
    license: str = "unknown"

    #: Can also be given on the command line: the data, weights to start from, and the network to learn from.
    data: Path | None = None
    train_split: str | None = None
    #: Names of samples of the training split to leave out, also of what is held out of it.
    exclude: tuple[str, ...] = ()
    start: Path | None = None
    teacher: Path | None = None

    epochs: int = Field(ge=1)
    #: Images in one step of the optimizer, over all processes and accumulated batches.
    batch_size: int = Field(default=8, ge=2)
    #: Batches that a process goes through for one step.
    accumulation: int = Field(default=1, ge=1)
    augmentation: AugmentationConfig = AugmentationConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    distillation: DistillationConfig = DistillationConfig()
    validation: ValidationConfig = ValidationConfig()
    #: How much more often images of rare classes are drawn: 0 alike, 1 so that all classes are seen alike.
    class_balance: Fraction = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    #: Of the exponential moving average of the weights, which is what is evaluated and kept; 0: the weights themselves.
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    #: Keep batch normalization's statistics as they were started from: small batches would spoil them.
    frozen_batch_norm: bool = False
    #: Iterations between states to resume from, beside one after each epoch.
    state_every: int = Field(default=200, ge=1)
    #: Store convolutions as float16 in the checkpoint.
    half: bool = False
    #: Processes that load data, for each process that trains.
    workers: int = Field(default=2, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_name_per_class(self) -> Self:
        if self.classes is not None and len(self.classes) != self.model.num_classes:
            raise ValueError(f"classes has {len(self.classes)} names, model.num_classes is {self.model.num_classes}")
        return self

    @model_validator(mode="after")
    def _sides_that_smp_takes(self) -> Self:
        stride = self.model.output_stride
        if self.model.architecture.startswith("smp_"):
            sides = {"augmentation.crop_size": self.augmentation.crop_size, "resize.multiple": self.resize.multiple}
            for name, length in sides.items():
                if length % stride:
                    near = " or ".join(str(n * stride) for n in (length // stride, length // stride + 1) if n)
                    raise ValueError(f"{name} {length}: {self.model.architecture} takes multiples of {stride} alone, so {near}")
        return self

    @classmethod
    def read(cls, path: Path) -> "TrainingConfig":
        """Raises: ConfigurationError, naming the file and what is wrong in it."""
        return cls.parse(read_mapping(path), source=str(path))

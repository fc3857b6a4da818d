"""A training run's configuration, read from YAML."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from model.config import ModelConfig
from model.metadata import Colour, Fraction, Normalization, ResizePolicy
from model.strict import StrictModel
from scripts.class_names import canonical_names
from scripts.datasets.source import DataSource
from scripts.training.augmentation_config import AugmentationConfig
from scripts.training.losses import LossConfig
from scripts.yaml_file import read_mapping


class OptimizerConfig(StrictModel):
    """The optimizer; its learning rates decay as `(1 - iteration / last) ** power` (Chen et al. 2017, section 4.1)."""

    #: Stochastic gradient descent with momentum, or AdamW, which handles activations of very different scales better.
    kind: Literal["sgd", "adamw"] = "sgd"
    backbone_learning_rate: float = Field(default=0.001, gt=0)
    head_learning_rate: float = Field(default=0.01, gt=0)
    #: For SGD only.
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    power: float = Field(default=0.9, ge=0)
    #: Iterations over which the learning rates rise to their full values.
    warm_up: int = Field(default=0, ge=0)
    #: Upper bound of the gradient's norm; unbounded by default.
    clip_norm: float | None = Field(default=None, gt=0)


class DistillationConfig(StrictModel):
    """Distillation: learning from a teacher's logits in addition to the annotations."""

    #: Weight of the divergence from the teacher, relative to the loss.
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)


class ValidationConfig(StrictModel):
    """The validation data, and how the best evaluation is chosen."""

    #: A split of the data; by default `val`, if there are splits named `train` and `val` (or `validation`, `val2017` ...).
    split: str | None = None
    #: Without a validation split, every n-th training image is held out.
    held_out_every: int = Field(default=10, ge=2)
    #: Classes in fewer validation images are ignored when choosing the best, so that no single image decides.
    least_images: int = Field(default=1, ge=1)


class TrainingConfig(StrictModel):
    """A training run: the network, its data and how it is trained."""

    model: ModelConfig
    normalization: Normalization = Normalization()
    resize: ResizePolicy = ResizePolicy()
    #: Class names; by default the data's, or PASCAL VOC's for data in its layout.
    classes: tuple[str, ...] | None = None
    #: Colours of the classes, red, green, blue in 0..255; by default PASCAL VOC's.
    palette: tuple[Colour, ...] | None = None
    provenance: str | None = None
    license: str = "unknown"

    #: The data, the start weights and the teacher can also be given on the command line. `data` is a path, or the keys of
    #: DataSource (scripts/datasets/source.py).
    data: DataSource | None = None
    train_split: str | None = None
    #: Names of samples to leave out of training and validation.
    exclude: tuple[str, ...] = ()
    #: Whether classes may have no pixel at all in the training data; the network does not learn such classes.
    allow_absent_classes: bool = False
    start: Path | None = None
    #: Classifier weights from which the backbone starts: `imagenet` for published ones, or the path of a state dict.
    backbone_weights: str | None = Field(default=None, min_length=1)
    teacher: Path | None = None

    epochs: int = Field(ge=1)
    #: Images in one optimizer step, over all processes and accumulated batches.
    batch_size: int = Field(default=8, ge=2)
    #: Batches per process in one step.
    accumulation: int = Field(default=1, ge=1)
    augmentation: AugmentationConfig = AugmentationConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    distillation: DistillationConfig = DistillationConfig()
    validation: ValidationConfig = ValidationConfig()
    #: How strongly images of rare classes are favoured: 0 draws all images equally often, 1 all classes.
    class_balance: Fraction = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    #: Decay of the moving average of the weights, which is evaluated and saved; 0 for no average.
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    #: Keep the batch statistics of the start weights, which small batches would degrade.
    frozen_batch_norm: bool = False
    #: Whether the head uses dropout. A network that starts as its teacher's copy would forget through it.
    dropout: bool = True
    #: Iterations between saved states to resume from; one more is saved after each epoch.
    state_every: int = Field(default=200, ge=1)
    #: Store convolutions as float16 in the checkpoint.
    half: bool = False
    #: Data-loading processes per training process.
    workers: int = Field(default=2, ge=0)
    seed: int = Field(default=0, ge=0)

    @field_validator("classes")
    @classmethod
    def _canonicalize_classes(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else canonical_names(value)

    @model_validator(mode="after")
    def _check_class_counts(self) -> Self:
        if self.classes is not None and len(self.classes) != self.model.num_classes:
            raise ValueError(f"classes has {len(self.classes)} names, model.num_classes is {self.model.num_classes}")
        if self.palette is not None and len(self.palette) != self.model.num_classes:
            raise ValueError(f"palette has {len(self.palette)} colours, model.num_classes is {self.model.num_classes}")
        return self

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.start is not None and self.backbone_weights is not None:
            raise ValueError("start and backbone_weights: give one; a start has the backbone's weights too")
        return self

    @model_validator(mode="after")
    def _check_smp_sides(self) -> Self:
        stride = self.model.output_stride
        if self.model.is_smp:
            sides = {"augmentation.crop_size": self.augmentation.crop_size, "resize.multiple": self.resize.multiple}
            for name, length in sides.items():
                if length is not None and length % stride:
                    multiples = " or ".join(str(n * stride) for n in (length // stride, length // stride + 1) if n)
                    raise ValueError(
                        f"{name} {length}: {self.model.architecture} takes only multiples of {stride}, so {multiples}"
                    )
        return self

    @classmethod
    def read(cls, path: Path) -> "TrainingConfig":
        """Read the YAML file at `path`.

        Raises:
            ConfigurationError: the file cannot be read or holds a wrong value; the message names the file and the key.
        """
        return cls.parse(read_mapping(path), source=str(path))

"""Training losses. Losses on the annotations ignore void pixels.

The distillation loss covers all pixels: the teacher also labels those that are not annotated.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.nn import functional as F

from model.strict import ConfigurationError, StrictModel, name_hint
from scripts.datasets import VOID

#: Maps logits, float B×C×H×W, and class indices, int64 B×H×W, to a scalar, which is 0 if every pixel is void.
Loss = Callable[[Tensor, Tensor], Tensor]

# Less than any sum of weights, while its inverse, scaled up for half precision, is still finite.
_TINY = 1e-6


class LossConfig(StrictModel):
    """The loss, by its name in `LOSSES`, and its parameters."""

    kind: str = "cross_entropy"
    #: Weight of the annotations in addition to the teacher; with 0, only the teacher's predictions are learned.
    weight: float = Field(default=1.0, ge=0)
    #: Weight of the Dice loss in `cross_entropy_dice`, relative to the cross-entropy.
    dice_weight: float = Field(default=1.0, ge=0)
    #: `ohem` keeps the pixels whose true class has a lower probability than this.
    ohem_threshold: float = Field(default=0.7, gt=0, le=1)
    #: Least fraction of non-void pixels that `ohem` keeps.
    ohem_min_kept: float = Field(default=1 / 16, gt=0, le=1)
    #: Weight of the auxiliary head's loss, relative to the output's.
    auxiliary_weight: float = Field(default=0.4, ge=0)
    #: Fraction of a pixel's target that is spread over all classes.
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("kind")
    @classmethod
    def _check_kind(cls, kind: str) -> str:
        if kind not in LOSSES:
            raise ValueError(f"unknown loss{name_hint(kind, LOSSES)}")
        return kind

    @model_validator(mode="after")
    def _check_label_smoothing(self) -> Self:
        if self.label_smoothing and self.kind in _UNSMOOTHED:
            raise ValueError(f"label_smoothing {self.label_smoothing}: the loss {self.kind!r} needs 0")
        return self


def build_loss(config: LossConfig, class_weights: Tensor | None = None) -> Loss:
    """Build the loss that `config` names; only `weighted_cross_entropy` uses `class_weights`, float C.

    Raises:
        ConfigurationError: the loss needs class weights and none are given.
    """
    return LOSSES[config.kind](config, class_weights)


def class_weights(pixel_counts: Sequence[int]) -> Tensor:
    """Return class weights 1 / ln(1.02 + p) that favour rare classes, where p is the class's fraction of the pixels.

    The formula is from ENet (Paszke et al. 2016, https://arxiv.org/abs/1606.02147, section 5.2) and bounds the ratio of weights
    to 35.5. Weights are then scaled to a mean of 1 over the classes that occur. A class that never occurs gets 1: the formula
    would give it the largest weight, and 0 would ignore it in data that were not counted.

    Args:
        pixel_counts: pixels of each class in the training data, without void.

    Returns:
        float32, one per class.

    Raises:
        ValueError: no class has a pixel.
    """
    counts = torch.tensor(pixel_counts, dtype=torch.float64)
    if not counts.sum() > 0:
        raise ValueError(f"pixel counts {list(pixel_counts)}: no class has any pixels")
    weights = 1 / (1.02 + counts / counts.sum()).log()
    occurs = counts > 0
    return torch.where(occurs, weights / weights[occurs].mean(), 1.0).float()


def total_loss(logits: Mapping[str, Tensor], masks: Tensor, loss: Loss, auxiliary_weight: float) -> Tensor:
    """Return `loss` of the network's output, plus the weighted loss of its auxiliary head if it has one.

    Args:
        logits: `out` and optionally `aux`, B×C×h×w on the network's grids; they are resized to the masks.
        masks: class indices, int64 B×H×W.
    """
    total = loss(_at_size(logits["out"], masks), masks)
    if "aux" in logits:
        total = total + auxiliary_weight * loss(_at_size(logits["aux"], masks), masks)
    return total


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(teacher‖student) over classes, averaged over pixels, times temperature².

    Both logits are divided by the temperature; the factor keeps the gradient's scale (Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531, section 2).

    Args:
        student, teacher: logits B×C×h×w; the teacher's get no gradient. A finer student grid is averaged over the teacher's
            cells, within which the teacher has no detail; a coarser one is interpolated, as it will be for masks.
    """
    target = teacher.detach().float()
    if student.shape[-2] > target.shape[-2]:
        student = F.adaptive_avg_pool2d(student.float(), (target.shape[-2], target.shape[-1]))
    divergence = F.kl_div(
        (_at_size(student, target) / temperature).log_softmax(1),
        (target / temperature).log_softmax(1),
        reduction="none",
        log_target=True,
    )
    return divergence.sum(1).mean() * temperature**2


def _cross_entropy(config: LossConfig, _: Tensor | None) -> Loss:
    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        total = F.cross_entropy(logits, masks, ignore_index=VOID, reduction="sum", label_smoothing=config.label_smoothing)
        return total / (masks != VOID).sum().clamp_min(1)

    return loss


def _weighted_cross_entropy(config: LossConfig, class_weights: Tensor | None) -> Loss:
    """Average over pixels, weighted by class, as torch defines it."""
    if class_weights is None:
        raise ConfigurationError("loss 'weighted_cross_entropy': needs class weights")
    weights = class_weights

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        device_weights, smoothing = weights.to(logits.device), config.label_smoothing
        total = F.cross_entropy(logits, masks, device_weights, ignore_index=VOID, reduction="sum", label_smoothing=smoothing)
        valid = masks != VOID
        return total / (device_weights[masks * valid] * valid).sum().clamp_min(_TINY)

    return loss


def _dice(config: LossConfig, _: Tensor | None) -> Loss:
    """Return a loss of 1 minus the Dice coefficient over the whole batch, averaged over the classes that occur in it."""
    # Imported here, since it takes a second and other losses do not need it.
    from model import torchvision_ops  # noqa: F401, before the library imports torchvision

    import segmentation_models_pytorch as smp

    del config
    over_all_classes = smp.losses.DiceLoss("multiclass", from_logits=True, ignore_index=VOID)

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        # smp's mean counts absent classes as perfect, so with many classes the loss would nearly vanish.
        classes = logits.shape[1]
        occurring = torch.bincount(masks.flatten(), minlength=VOID + 1)[:classes].count_nonzero().clamp_min(1)
        mean: Tensor = over_all_classes(logits, masks)
        return mean * (classes / occurring)

    return loss


def _cross_entropy_dice(config: LossConfig, class_weights: Tensor | None) -> Loss:
    cross_entropy, dice = _cross_entropy(config, class_weights), _dice(config, class_weights)
    return lambda logits, masks: cross_entropy(logits, masks) + config.dice_weight * dice(logits, masks)


def _ohem(config: LossConfig, _: Tensor | None) -> Loss:
    """Return the cross-entropy of only the hardest pixels: online hard example mining.

    Shrivastava et al. 2016, https://arxiv.org/abs/1604.03540; for segmentation, the bootstrapped cross-entropy of Wu et al.
    2016, https://arxiv.org/abs/1605.06885.
    """
    limit = -math.log(config.ohem_threshold)

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        losses = F.cross_entropy(logits, masks, ignore_index=VOID, reduction="none")[masks != VOID]
        hard = int((losses > limit).sum())
        count = max(hard, math.ceil(config.ohem_min_kept * len(losses)))
        return losses.topk(count, sorted=False).values.sum() / max(count, 1)

    return loss


def _at_size(logits: Tensor, like: Tensor) -> Tensor:
    """Resize logits, B×C×h×w, to the last two dimensions of `like`, as float32."""
    size = like.shape[-2:]
    if logits.shape[-2:] == size:
        return logits.float()
    return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)


LOSSES: dict[str, Callable[[LossConfig, Tensor | None], Loss]] = {
    "cross_entropy": _cross_entropy,
    "weighted_cross_entropy": _weighted_cross_entropy,
    "dice": _dice,
    "cross_entropy_dice": _cross_entropy_dice,
    "ohem": _ohem,
}
#: The only loss that needs class weights.
WEIGHTED = "weighted_cross_entropy"
_UNSMOOTHED = ("dice", "ohem")

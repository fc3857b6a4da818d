"""Take optimizer steps: from a step's batches to new weights."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model import Network
from model.preprocessing import Normalize
from scripts.training.config import OptimizerConfig, TrainingConfig
from scripts.training.losses import build_loss, distillation_loss, total_loss
from scripts.training.processes import Processes

#: Images, uint8 B×3×S×S, and class indices, int64 B×S×S.
Batch = tuple[Tensor, Tensor]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Step:
    """The outcome of one optimizer step."""

    loss: float
    #: Weighted terms of the loss, by name.
    parts: dict[str, float]
    #: Learning rates by parameter group.
    learning_rates: dict[str, float]


class Trainer:
    """Trains a network.

    Args:
        teacher: maps the same normalized images to logits, for distillation.
        class_weights: float C, for losses that weight classes.
        steps: number of steps in the whole run, over which the learning rates decay.
    """

    def __init__(
        self,
        network: Network,
        config: TrainingConfig,
        processes: Processes,
        *,
        steps: int,
        teacher: nn.Module | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        self._config = config
        self._processes = processes
        self._device = processes.device
        self.network: Network = move_to_device(network, self._device)
        self._teacher = None if teacher is None else move_to_device(teacher, self._device).eval().requires_grad_(False)
        self._normalize = Normalize(config.normalization).to(self._device)
        self._loss = build_loss(config.loss, class_weights)
        self._optimizer = build_optimizer(network, config.optimizer)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda steps_done: learning_rate_factor(steps_done, steps, config.optimizer)
        )
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=config.precision == "float16")
        self._ema = self._build_average()
        self._learner: nn.Module = self.network
        if processes.count > 1:
            devices = [self._device] if self._device.type == "cuda" else None
            # Every parameter gets a gradient, with or without an auxiliary head and a teacher.
            self._learner = DistributedDataParallel(self.network, device_ids=devices)

    @property
    def evaluation_network(self) -> Network:
        """The network to evaluate and save: the moving average if there is one."""
        return self.network if self._ema is None else cast(Network, self._ema.module)

    def begin_epoch(self) -> None:
        """Switch back to training mode after an evaluation."""
        self.network.train()
        frozen_types = [nn.BatchNorm2d] * self._config.frozen_batch_norm + [nn.Dropout] * (not self._config.dropout)
        for module in self.network.modules():
            if isinstance(module, tuple(frozen_types)):
                module.eval()

    def step(self, batches: Sequence[Batch], seed: int) -> Step:
        """Take one step on `batches`. Random numbers in the network (dropout) depend only on `seed`."""
        torch.manual_seed(seed)
        self._optimizer.zero_grad(set_to_none=True)
        learning_rates = {str(group["name"]): float(group["lr"]) for group in self._optimizer.param_groups}
        sums: dict[str, float] = {}
        for number, batch in enumerate(batches, 1):
            with self._gradient_exchange(last=number == len(batches)):
                parts = self._loss_terms(batch)
                total = sum(parts.values(), torch.zeros((), device=self._device)) / len(batches)
                self._scaler.scale(total).backward()
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
        self._scaler.unscale_(self._optimizer)
        if self._config.optimizer.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._config.optimizer.clip_norm)
        scale = self._scaler.get_scale()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        # A lower scale means that gradients overflowed float16 and the step was skipped.
        if self._scaler.get_scale() >= scale:
            self._schedule.step()
            if self._ema is not None:
                self._ema.update_parameters(self.network)
        means = dict(zip(sums, self._processes.means(list(sums.values())), strict=True))
        return Step(sum(means.values()), means, learning_rates)

    def state(self) -> dict[str, Any]:
        """Return everything on which the next step depends, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "ema": None if self._ema is None else self._ema.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the step at which `state` was taken."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])

    def _gradient_exchange(self, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Return a context in which processes exchange gradients only for a step's last batch."""
        if last or not isinstance(self._learner, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._learner.no_sync()

    def _build_average(self) -> AveragedModel | None:
        decay = self._config.ema_decay
        return AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None

    def _loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted terms of the loss."""
        images, masks = (tensor.to(self._device, non_blocking=True) for tensor in batch)
        pixels = self._normalize_pixels(images)
        with autocast(self._device, self._config.precision):
            logits = self._learner(pixels)
            target = None
            if self._teacher is not None:
                with torch.no_grad():
                    target = self._teacher(pixels)
        parts = {}
        if weight := self._config.loss.weight:
            parts["labels"] = weight * total_loss(logits, masks, self._loss, self._config.loss.auxiliary_weight)
        if target is not None:
            distillation = self._config.distillation
            parts["teacher"] = distillation.weight * distillation_loss(logits["out"], target, distillation.temperature)
        return parts

    def _normalize_pixels(self, images: Tensor) -> Tensor:
        pixels: Tensor = self._normalize(images.to(self._device).permute(0, 2, 3, 1))
        return pixels.contiguous(memory_format=torch.channels_last)


def move_to_device(network: Any, device: torch.device) -> Any:
    """Move a network to `device`, in the memory layout that is fastest for convolutions; return the same network."""
    return network.to(device).to(memory_format=torch.channels_last)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return a context in which networks compute in `precision`, spelt as in the configuration."""
    dtype = _DTYPES[precision]
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def build_optimizer(network: Network, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build an optimizer with separate parameter groups and learning rates for the backbone and the head."""
    backbone = list(network.backbone.parameters())
    backbone_ids = {id(parameter) for parameter in backbone}
    head = [parameter for parameter in network.parameters() if id(parameter) not in backbone_ids]
    groups = [
        {"name": "backbone", "params": backbone, "lr": config.backbone_learning_rate},
        {"name": "head", "params": head, "lr": config.head_learning_rate},
    ]
    if config.kind == "adamw":
        return torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay)


def learning_rate_factor(steps_done: int, steps: int, config: OptimizerConfig) -> float:
    """Return the fraction of the full rate for the step after `steps_done` steps: linear warm-up times polynomial decay."""
    warm_up = min(1.0, (steps_done + 1) / (config.warm_up + 1))
    decay: float = (1 - min(steps_done, steps) / steps) ** config.power
    return warm_up * decay

"""Measure the statistics of batch normalizations after random weights, which frozen batch normalizations would never learn."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from model import Network
from model.preprocessing import Normalize
from scripts.training.config import TrainingConfig
from scripts.training.trainer import autocast

#: Batch normalizations in groups; each group feeds the next.
LayerGroups = list[list[nn.BatchNorm2d]]


def batch_normalizations(*modules: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for module in modules for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


@torch.no_grad()
def measure_statistics(
    network: Network, groups: LayerGroups, crops: Sequence[Tensor], config: TrainingConfig, after_group: Callable[[], None]
) -> None:
    """Set the running statistics of `groups` to their means over `crops`, one group after the other.

    Args:
        network: the network, in which the groups are.
        groups: the layers to measure.
        crops: batches of images, uint8 B×3×S×S.
        config: provides the normalization and the precision of training.
        after_group: called after a group is measured, before the next group.
    """
    network.eval()
    device = next(network.parameters()).device
    normalize = Normalize(config.normalization).to(device)
    for group in groups:
        momenta = [layer.momentum for layer in group]
        for layer in group:
            layer.reset_running_stats()
            layer.momentum = None  # The plain mean over all batches.
            layer.train()
        with autocast(device, config.precision):
            for images in crops:
                pixels = normalize(images.to(device).permute(0, 2, 3, 1))
                network(pixels.contiguous(memory_format=torch.channels_last))
        for layer, momentum in zip(group, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
        after_group()

"""PyTorch in float32: the definition of correct for every other engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from handler.network.engines.base import Engine, EngineOptions, Logits, Pixels, Region, has_gpu
from model.checkpoint import Checkpoint
from model.preprocessing import Normalize
from model.strict import ConfigurationError


class TorchEngine(Engine):
    """Runs the checkpoint's network eagerly."""

    name = "torch"
    precision = "float32"
    has_gradients = True

    def __init__(self, checkpoint: Checkpoint, options: EngineOptions) -> None:
        """Move the network to its device.

        Raises:
            ConfigurationError: `options` request a precision other than float32.
        """
        if options.precision not in {"auto", "float32"}:
            raise ConfigurationError(f"precision {options.precision!r}: the engine 'torch' computes in 'float32' on a CPU")
        if options.threads:
            torch.set_num_threads(options.threads)
        on_gpu = has_gpu(options)
        self._device = torch.device(f"cuda:{options.gpu_id}" if on_gpu else "cpu")
        # Batching saves no time on a CPU, and its kernels may round differently than those for one image.
        self.max_batch = 8 if on_gpu else 1
        # An explanation adds hooks to the network, which no other call may run through.
        self._lock = Lock()
        network = nn.Sequential(Normalize(checkpoint.metadata.normalization), checkpoint.network)
        self._network = network.eval().to(self._device)
        self._last_features_reader = checkpoint.network.last_features_reader
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def infer(self, pixels: Pixels) -> Logits:
        with self._lock:
            logits: Logits = self._network(self._to_tensor(pixels))["out"].float().cpu().numpy()
        return logits

    def class_activation(self, pixels: Pixels, choose: Callable[[Logits], Region]) -> tuple[Region, npt.NDArray[np.float32]]:
        with self._lock, _freeze_parameters(self._network), _collect_inputs(self._last_features_reader) as inputs:
            logits: Tensor = self._network(self._to_tensor(np.stack([pixels])))["out"][0]
            region = choose(logits.detach().float().cpu().numpy())
            score = logits[region.class_index][torch.from_numpy(region.cells).to(logits.device)].sum()
            (features,) = inputs
            (gradient,) = torch.autograd.grad(score, features)
        # Grad-CAM (Selvaraju et al. 2017, equations 1 and 2).
        heat = (gradient.mean((2, 3), keepdim=True) * features.detach()).sum(1).relu()
        return region, heat[0].float().cpu().numpy()

    def _to_tensor(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self._device)


@contextmanager
def _freeze_parameters(network: nn.Module) -> Iterator[None]:
    """Disable the parameters' gradients in the block, so that the graph begins at the explained features, not at the image.

    They are restored because the network may be in training.
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def _collect_inputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """Make the input tensors of `module` require gradients, and collect them."""
    inputs: list[Tensor] = []

    def collect(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs.append(arguments[0].requires_grad_())

    hook = module.register_forward_pre_hook(collect)
    try:
        yield inputs
    finally:
        hook.remove()

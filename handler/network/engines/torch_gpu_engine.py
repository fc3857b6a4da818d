"""PyTorch on a GPU: compiled, in bfloat16 if the GPU has it, replayed as CUDA graphs; labels are computed on the GPU too."""

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from handler.geometry import Size, network_size
from handler.network.engines.base import Engine, EngineOptions, Precision
from handler.network.engines.device_labels import make_label_map
from handler.network.engines.replays import Capture, CudaGraphs, Forward, Replays
from handler.network.engines.transfers import Transfers
from model.checkpoint import Checkpoint
from model.preprocessing import Normalize
from model.strict import ConfigurationError

logger = logging.getLogger(__name__)

#: A backend of `torch.compile`, by name or as a function.
Backend = str | Callable[..., Any]

#: Height and width of a common photograph; at start-up the network is compiled and captured for its input size.
_COMMON_SIZE = (480, 640)


def build_gpu_engine(checkpoint: Checkpoint, options: EngineOptions) -> "TorchGpuEngine":
    """Build the engine on GPU `options.gpu_id`.

    Raises:
        ConfigurationError: the GPU does not support `options.precision`.
    """
    device = torch.device(f"cuda:{options.gpu_id}")
    return TorchGpuEngine(checkpoint, options, device, capture=CudaGraphs(device))


class TorchGpuEngine(Engine):
    """Runs the checkpoint's network, compiled at start-up for all image sizes, so that no request waits for a compiler.

    Images in a batch have the same size and no padding, so the content of one never affects another. But GPU kernels depend on
    the batch's shape and may sum in a different order: between batch sizes, logits can differ in their last (bfloat16) bits,
    and labels where two classes are nearly equal.

    If compilation fails, usually for lack of a C compiler, a warning is logged and the network runs uncompiled: slower, but
    correct.
    """

    name = "torch"
    max_batch = 8

    def __init__(
        self,
        checkpoint: Checkpoint,
        options: EngineOptions,
        device: torch.device,
        *,
        capture: Capture | None = None,
        backend: Backend = "inductor",
    ) -> None:
        """Copy, compile and warm up the network.

        Args:
            checkpoint: contains the network.
            options: threads and precision.
            device: where to run; the CPU also works, for tests.
            capture: captures a graph for an input shape; None for no graphs.
            backend: backend of `torch.compile`.

        Raises:
            ConfigurationError: the device does not support `options.precision`.
        """
        if options.threads:
            torch.set_num_threads(options.threads)
        self.precision = _choose_precision(options.precision, device)
        self._device = device
        self._transfers = Transfers(device)
        # Neither captures nor graphs that share memory may overlap.
        self._lock = Lock()
        network = nn.Sequential(Normalize(checkpoint.metadata.normalization), copy.deepcopy(checkpoint.network), _Logits())
        network.eval().to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.precision == "bfloat16":
            _round_weights(network)
        size = network_size(checkpoint.metadata.resize, _COMMON_SIZE)
        forward = self._compile(network, size, backend)
        self._forward = Replays(forward, capture) if capture else forward
        for height, width in (size, size[::-1]):
            for _ in range(2):
                self.infer(np.zeros((1, height, width, 3), np.uint8))

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with self._inference_context(stance="eager_on_recompile"):
            return self._transfers.download(self._forward(self._transfers.upload(pixels)))

    def make_label_map(
        self, scores: npt.NDArray[np.float32], size: Size, dtype: npt.DTypeLike
    ) -> npt.NDArray[np.unsignedinteger]:
        with self._lock, torch.accelerator.device_index(self._device.index):
            return make_label_map(scores, size, dtype, self._transfers)

    def _compile(self, network: nn.Module, size: Size, backend: Backend) -> Forward:
        """Compile `network` for single images and batches of any size; return it uncompiled if that fails."""
        compiled: Forward = torch.compile(network, dynamic=True, backend=backend)
        try:
            for images in (1, 2):
                with self._inference_context(stance="default"):
                    compiled(torch.zeros((images, *size, 3), dtype=torch.uint8, device=self._device))
        except RuntimeError:
            logger.warning("the network runs uncompiled, which is slower: torch.compile failed", exc_info=True)
            return network
        return compiled

    @contextmanager
    def _inference_context(self, *, stance: str) -> Iterator[None]:
        """Set every mode the network runs in; always the same ones, because torch.compile recompiles if one changes.

        Args:
            stance: what `torch.compile` does with an input that no compiled code fits.
        """
        with (
            self._lock,
            torch.accelerator.device_index(self._device.index),
            torch.no_grad(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bfloat16", cache_enabled=False),
            # By default cuDNN computes float32 in TF32, whose mantissa is as short as float16's.
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            torch.compiler.set_stance(stance),
        ):
            yield


class _Logits(nn.Module):
    """Select the logits, contiguous and in float32, for the transfer to the CPU."""

    def forward(self, outputs: dict[str, Tensor]) -> Tensor:
        return outputs["out"].float().contiguous()


def _round_weights(network: nn.Module) -> None:
    """Round convolution weights to bfloat16 once, as autocast would in every run.

    Subclasses are skipped, because they may compute with their weights before convolving.
    """
    for module in network.modules():
        if type(module) in {nn.Conv2d, nn.Linear}:
            module.to(torch.bfloat16)


def _choose_precision(precision: Precision, device: torch.device) -> str:
    native = "bfloat16" if _computes_in_bfloat16(device) else "float32"
    if precision == "auto":
        return native
    if precision not in {"float32", native}:
        reason = "this GPU does not compute in it natively" if precision == "bfloat16" else "torch does not run it on GPUs"
        raise ConfigurationError(f"precision {precision!r}: {reason}; use 'auto' or {native!r}")
    return precision


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))

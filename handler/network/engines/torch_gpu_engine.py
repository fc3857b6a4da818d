"""PyTorch on a GPU: compiled, in bfloat16 where the GPU computes in it, replayed as CUDA graphs; labels are made there too."""

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

#: A name that `torch.compile` knows, or what it takes in its stead.
Backend = str | Callable[..., Any]

#: Of a photograph, lying; the network is compiled and recorded at what it sees of it before the first request.
_USUAL_SIZE = (480, 640)


def on_gpu(checkpoint: Checkpoint, options: EngineOptions) -> "TorchGpuEngine":
    """The engine on the GPU that `options` name.

    Raises:
        ConfigurationError: the GPU does not have the precision that `options` ask for.
    """
    device = torch.device(f"cuda:{options.gpu_id}")
    return TorchGpuEngine(checkpoint, options, device, capture=CudaGraphs(device))


class TorchGpuEngine(Engine):
    """Runs the checkpoint's network compiled, once for all sizes of images: no request waits for a compiler.

    Images of a batch have one size and none is padded, so no image changes another's answer by what it shows. But a GPU's
    kernels are chosen for the shape of a batch, and those for several images may sum in another order than those for one:
    logits can differ in their last bits, which are bfloat16's, and labels where two classes are all but equal.

    Where the network cannot be compiled, mostly for want of a C compiler, that is logged, and it runs uncompiled: slower, and
    right. To refuse would leave a model unserved that could be.
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
        """
        Args:
            checkpoint: with the network, which is copied.
            options: threads and precision.
            device: where it runs, be it the CPU.
            capture: records what is done for a shape; None: nothing is recorded.
            backend: of `torch.compile`.

        Raises:
            ConfigurationError: the device does not have the precision that `options` ask for.
        """
        if options.threads:
            torch.set_num_threads(options.threads)
        self.precision = _chosen(options.precision, device)
        self._device = device
        self._transfers = Transfers(device)
        # Captures, and graphs that share memory, are one at a time.
        self._lock = Lock()
        network = nn.Sequential(Normalize(checkpoint.metadata.normalization), copy.deepcopy(checkpoint.network), _Logits())
        network.eval().to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.precision == "bfloat16":
            _round_weights(network)
        size = network_size(checkpoint.metadata.resize, _USUAL_SIZE)
        forward = self._compiled(network, size, backend)
        self._forward = Replays(forward, capture) if capture else forward
        for height, width in (size, size[::-1]):
            for _ in range(2):
                self.infer(np.zeros((1, height, width, 3), np.uint8))

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with self._running(stance="eager_on_recompile"):
            return self._transfers.download(self._forward(self._transfers.upload(pixels)))

    def make_label_map(
        self, scores: npt.NDArray[np.float32], size: Size, dtype: npt.DTypeLike
    ) -> npt.NDArray[np.unsignedinteger]:
        with self._lock, torch.accelerator.device_index(self._device.index):
            return make_label_map(scores, size, dtype, self._transfers)

    def _compiled(self, network: nn.Module, size: Size, backend: Backend) -> Forward:
        """`network` compiled for one image and for several, of any size; as it is, where that fails."""
        compiled: Forward = torch.compile(network, dynamic=True, backend=backend)
        try:
            for images in (1, 2):
                with self._running(stance="default"):
                    compiled(torch.zeros((images, *size, 3), dtype=torch.uint8, device=self._device))
        except RuntimeError:
            logger.warning("the network runs uncompiled, which is slower: torch.compile failed", exc_info=True)
            return network
        return compiled

    @contextmanager
    def _running(self, *, stance: str) -> Iterator[None]:
        """How the network runs; torch.compile remembers it, and would compile again for every other way.

        Args:
            stance: what `torch.compile` does with a shape that nothing compiled fits.
        """
        with (
            self._lock,
            torch.accelerator.device_index(self._device.index),
            torch.no_grad(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bfloat16", cache_enabled=False),
            # Else cuDNN takes TF32 for float32: as few bits of a mantissa as float16 has.
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            torch.compiler.set_stance(stance),
        ):
            yield


class _Logits(nn.Module):
    """The network's logits, laid out and in the type in which they travel."""

    def forward(self, outputs: dict[str, Tensor]) -> Tensor:
        return outputs["out"].float().contiguous()


def _round_weights(network: nn.Module) -> None:
    """Do once what autocast would do in each run: round the weights of convolutions to bfloat16.

    Not of layers derived from them, which may compute with their weights before they convolve.
    """
    for module in network.modules():
        if type(module) in {nn.Conv2d, nn.Linear}:
            module.to(torch.bfloat16)


def _chosen(asked: Precision, device: torch.device) -> str:
    native = "bfloat16" if _computes_in_bfloat16(device) else "float32"
    if asked == "auto":
        return native
    if asked not in {"float32", native}:
        reason = "this GPU does not compute in it natively" if asked == "bfloat16" else "torch has it on no GPU"
        raise ConfigurationError(f"precision {asked!r}: {reason}; use 'auto' or {native!r}")
    return asked


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))

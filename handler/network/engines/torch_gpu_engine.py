"""PyTorch on a GPU: in bfloat16 if the GPU has it, replayed as CUDA graphs; labels are computed on the GPU too."""

import copy
from threading import Lock

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

#: Held while a network runs: captures must not overlap, graphs share memory, and cuDNN's settings are the whole process's.
_GPU_LOCK = Lock()

#: Height and width of a common photograph; its input size is captured at start-up.
_COMMON_SIZE = (480, 640)


def build_gpu_engine(checkpoint: Checkpoint, options: EngineOptions) -> "TorchGpuEngine":
    """Build the engine on GPU `options.gpu_id`.

    Raises:
        ConfigurationError: the GPU does not support `options.precision`.
    """
    device = torch.device(f"cuda:{options.gpu_id}")
    return TorchGpuEngine(checkpoint, options, device, capture=CudaGraphs(device))


class TorchGpuEngine(Engine):
    """Runs the checkpoint's network in eager mode, or replays a CUDA graph for input shapes that recur.

    Images in a batch have the same size and no padding, so the content of one never affects another. But GPU kernels depend on
    the batch's shape and may sum in a different order: between batch sizes, logits can differ in their last (bfloat16) bits,
    and labels where two classes are nearly equal.
    """

    name = "torch"
    max_batch = 8

    def __init__(
        self, checkpoint: Checkpoint, options: EngineOptions, device: torch.device, *, capture: Capture | None = None
    ) -> None:
        """Copy and warm up the network.

        Args:
            checkpoint: contains the network.
            options: threads and precision.
            device: where to run; the CPU also works, for tests.
            capture: captures a graph for an input shape; None for no graphs.

        Raises:
            ConfigurationError: the device does not support `options.precision`.
        """
        if options.threads:
            torch.set_num_threads(options.threads)
        self.precision = _choose_precision(options.precision, device)
        self._device = device
        self._transfers = Transfers(device)
        network = nn.Sequential(Normalize(checkpoint.metadata.normalization), copy.deepcopy(checkpoint.network), _Logits())
        network.eval().to(device)
        if self.precision == "bfloat16":
            _round_weights(network)
        _bypass_cudnn_for_depthwise(network)
        self._forward: Forward = Replays(network, capture) if capture else network
        height, width = network_size(checkpoint.metadata.resize, _COMMON_SIZE)
        for size in ((height, width), (width, height)):
            for _ in range(2):
                self.infer(np.zeros((1, *size, 3), np.uint8))

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with (
            _GPU_LOCK,
            torch.accelerator.device_index(self._device.index),
            torch.no_grad(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bfloat16", cache_enabled=False),
            # By default cuDNN computes float32 in TF32, whose mantissa is as short as float16's.
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            return self._transfers.download(self._forward(self._transfers.upload(pixels)))

    def make_label_map(
        self, scores: npt.NDArray[np.float32], size: Size, dtype: npt.DTypeLike
    ) -> npt.NDArray[np.unsignedinteger]:
        with _GPU_LOCK, torch.accelerator.device_index(self._device.index):
            return make_label_map(scores, size, dtype, self._transfers)


class _Logits(nn.Module):
    """Select the logits, contiguous and in float32, for the transfer to the CPU."""

    def forward(self, outputs: dict[str, Tensor]) -> Tensor:
        return outputs["out"].float().contiguous()


def _bypass_cudnn_for_depthwise(network: nn.Module) -> None:
    """Make depthwise convolutions use PyTorch's own kernels.

    cuDNN would compile theirs for every new image size, which takes one to two seconds for a MobileNetV2, and they are slower.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = torch.backends.cudnn.flags(enabled=False)(module.forward)  # type: ignore[method-assign]


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

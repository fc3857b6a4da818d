"""PyTorch in float32: the definition of correct for every other engine."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from handler.engines import EngineOptions
from model.checkpoint import Checkpoint
from model.preprocessing import Normalize


class TorchEngine:
    """Runs the checkpoint's network eagerly."""

    def __init__(self, checkpoint: Checkpoint, options: EngineOptions) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        # TorchServe counts the machine's GPUs, but this build of torch may be without CUDA.
        on_gpu = options.gpu_id is not None and torch.cuda.is_available()
        self._device = torch.device(f"cuda:{options.gpu_id}" if on_gpu else "cpu")
        # On a CPU a batch saves no time, and its kernels may round otherwise than those for one image.
        self._max_batch = 8 if on_gpu else 1
        network = nn.Sequential(Normalize(checkpoint.metadata.normalization), checkpoint.network)
        self._network = network.eval().to(self._device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def max_batch(self) -> int:
        return self._max_batch

    @torch.inference_mode()
    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)
        logits: npt.NDArray[np.float32] = self._network(batch)["out"].float().cpu().numpy()
        return logits

"""Copy arrays to a device and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Transfers:
    """Copies to and from one device; to and from a GPU through pinned memory, so that the CPU does not wait."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pinned = device.type == "cuda"

    def upload(self, array: npt.NDArray[Any]) -> Tensor:
        """Copy `array` to the device; on the CPU the tensor may share its memory."""
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        return tensor.pin_memory().to(self.device, non_blocking=True) if self._pinned else tensor

    def allocate(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Allocate an uninitialized CPU tensor for `start_download`."""
        return torch.empty(shape, dtype=dtype, pin_memory=self._pinned)

    def start_download(self, tensor: Tensor, destination: Tensor) -> None:
        """Start copying `tensor` into a CPU tensor of the same dtype; for another dtype, the CPU would wait and convert."""
        destination.copy_(tensor, non_blocking=self._pinned)

    def synchronize(self) -> None:
        """Wait for all copies."""
        if self._pinned:
            torch.cuda.current_stream(self.device).synchronize()

    def download(self, tensor: Tensor) -> npt.NDArray[Any]:
        """Return a copy of `tensor` in CPU memory."""
        copy = self.allocate(tensor.shape, tensor.dtype)
        self.start_download(tensor, copy)
        self.synchronize()
        array: npt.NDArray[Any] = copy.numpy()
        return array

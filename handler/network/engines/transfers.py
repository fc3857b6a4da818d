"""Arrays to a device and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Transfers:
    """To and from one device; where it is a GPU, through pinned memory, which it reads and writes while the CPU goes on."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pinned = device.type == "cuda"

    def upload(self, array: npt.NDArray[Any]) -> Tensor:
        """`array` on the device; on the CPU it may share its memory."""
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        return tensor.pin_memory().to(self.device, non_blocking=True) if self._pinned else tensor

    def room(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory on the CPU's side, as yet without values, for `fetch`."""
        return torch.empty(shape, dtype=dtype, pin_memory=self._pinned)

    def fetch(self, tensor: Tensor, into: Tensor) -> None:
        """Begin to copy `tensor` from the device; both must have one dtype, or the CPU would convert."""
        into.copy_(tensor, non_blocking=self._pinned)

    def finish(self) -> None:
        """Wait until all that was begun is done."""
        if self._pinned:
            torch.cuda.current_stream(self.device).synchronize()

    def download(self, tensor: Tensor) -> npt.NDArray[Any]:
        """`tensor` in memory of its own on the CPU's side."""
        room = self.room(tensor.shape, tensor.dtype)
        self.fetch(tensor, room)
        self.finish()
        array: npt.NDArray[Any] = room.numpy()
        return array

"""The processes that train together, on GPUs or on the CPU, started by torchrun."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import distributed, nn

from model.strict import ConfigurationError

#: Batch normalization needs more than one image to estimate a variance.
_MIN_BATCH_SIZE = 2


@dataclass(frozen=True)
class Processes:
    """This process's position among the processes that train together."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the `value` of every process, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def means(self, values: Sequence[float]) -> list[float]:
        """Return the mean of each of `values` over all processes."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return [value / self.count for value in total.tolist()]

    def share_buffers(self, network: nn.Module) -> None:
        """Copy the network's buffers from the first process to all."""
        if self.count > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Wait until every process has called this."""
        if self.count > 1:
            distributed.barrier()

    def process_batch_size(self, batch_size: int, accumulation: int, *, frozen_batch_norm: bool = False) -> int:
        """Return the number of images in one process's batch, which may be 1 only if batch normalization is frozen.

        Raises:
            ConfigurationError: a step's images cannot be divided evenly, or a batch would be too small.
        """
        parts = self.count * accumulation
        if batch_size % parts:
            raise ConfigurationError(
                f"batch_size {batch_size}: must be a multiple of processes × accumulation, {self.count} × {accumulation}"
            )
        if batch_size // parts < _MIN_BATCH_SIZE and not frozen_batch_norm:
            raise ConfigurationError(
                f"batch_size {batch_size}: gives {batch_size // parts} image to each of {self.count} processes × "
                f"{accumulation} batches; batch normalization needs {_MIN_BATCH_SIZE}, so {_MIN_BATCH_SIZE * parts} or more"
            )
        return batch_size // parts


@contextmanager
def process_group() -> Iterator[Processes]:
    """Join the process group described by torchrun's environment variables, or train alone without them."""
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available()
    device = torch.device(f"cuda:{local}" if on_gpu else "cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(device=device)
        return
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Processes(rank, count, device)
    finally:
        distributed.destroy_process_group()


def spawn(count: int, module: str, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by torchrun, which starts `python -m module arguments` in `count` processes on this machine.

    On the CPU, they share the cores.

    Raises:
        ConfigurationError: the machine has GPUs, but fewer than `count`.
    """
    gpus = torch.cuda.device_count()
    if gpus and count > gpus:
        raise ConfigurationError(f"--processes {count}: this machine has {gpus} GPUs")
    environment = dict(os.environ)
    if not gpus:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", module]
    # Replacing this process lets a signal to it end all of them.
    os.execve(sys.executable, [*command, *arguments], environment)  # noqa: S606, no shell is wanted

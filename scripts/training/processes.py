"""One process or several that train together, on GPUs or on the CPU, as torchrun starts them."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import distributed, nn

from model.strict import ConfigurationError

#: Images in a batch: over one alone, batch normalization has no variance.
_LEAST = 2


@dataclass(frozen=True)
class Processes:
    """This process's place among those that train together."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and speaks."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """`value` of every process, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def means(self, values: Sequence[float]) -> list[float]:
        """Of each of `values`, the mean over all processes."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return [value / self.count for value in total.tolist()]

    def share_buffers(self, network: nn.Module) -> None:
        """Give the network's buffers the values that they have in the first process."""
        if self.count > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            distributed.barrier()

    def batch_of_each(self, batch_size: int, accumulation: int) -> int:
        """How many images each process takes at once.

        Raises:
            ConfigurationError: a step's images cannot be shared out evenly.
        """
        parts = self.count * accumulation
        if batch_size % parts:
            raise ConfigurationError(
                f"batch_size {batch_size}: must be a multiple of processes × accumulation, {self.count} × {accumulation}"
            )
        if batch_size // parts < _LEAST:
            raise ConfigurationError(
                f"batch_size {batch_size}: leaves {batch_size // parts} image for each of {self.count} processes × "
                f"{accumulation} batches; batch normalization needs {_LEAST}, so it must be {_LEAST * parts} or more"
            )
        return batch_size // parts


@contextmanager
def joined() -> Iterator[Processes]:
    """Take this process's place: the one torchrun's environment gives it, else alone."""
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
    """Become torchrun, running `python -m module arguments` in `count` processes on this machine.

    On a CPU the processes share the cores out between them.

    Raises:
        ConfigurationError: there are not so many GPUs.
    """
    gpus = torch.cuda.device_count()
    if gpus and count > gpus:
        raise ConfigurationError(f"--processes {count}: this machine has {gpus} GPUs")
    environment = dict(os.environ)
    if not gpus:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", module]
    # In this process's place, so that whoever ends it ends them all.
    os.execve(sys.executable, [*command, *arguments], environment)  # noqa: S606, no shell is wanted

"""What a network does for one shape of its input, recorded once and replayed: a GPU is then given one command, not hundreds."""

import logging
import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import count

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

#: uint8 RGB B×h×w×3 to logits float32 B×classes×h'×w', both on one device.
Forward = Callable[[Tensor], Tensor]
#: B, h, w, 3.
Shape = tuple[int, ...]
#: Makes, of what it is to replay and the shape of its input, what replays it.
Capture = Callable[[Forward, Shape], Forward]

#: Shapes whose recordings are kept: the usual aspect ratios, upright and lying, alone and in batches.
_RECORDED = 16
#: Shapes of which it is known that they were seen.
_REMEMBERED = 256
#: Pixels of a batch above which nothing is recorded: such a one takes a GPU longer than the CPU takes to give all commands,
#: and the memory that all recordings share is that of the largest.
_MOST_PIXELS = 1 << 22


class Replays:
    """Runs a network; at the second sight of a shape it records what is done, and replays that from then on.

    The first sight is no reason yet: photographs may have any aspect ratio, and most of the rare ones never come again. The
    recordings used last are kept. Where recording fails, that is logged, and the network runs on without.
    """

    def __init__(self, forward: Forward, capture: Capture, recorded: int = _RECORDED) -> None:
        """
        Args:
            forward: the network.
            capture: records it.
            recorded: shapes whose recordings are kept.
        """
        self._forward = forward
        self._sightings: Callable[[Shape], Iterator[int]] = lru_cache(_REMEMBERED)(lambda _: count())
        self._recording = lru_cache(recorded)(partial(capture, forward))
        self._failed = False

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 RGB B×h×w×3 to logits, which may be overwritten by the next call."""
        shape = tuple(pixels.shape)
        if self._failed or math.prod(shape[:-1]) > _MOST_PIXELS or next(self._sightings(shape)) == 0:
            return self._forward(pixels)
        try:
            replay = self._recording(shape)
        except RuntimeError:
            logger.warning("the network runs without CUDA graphs, which is slower: capturing one failed", exc_info=True)
            self._failed = True
            self._recording.cache_clear()
            replay = self._forward
        return replay(pixels)


class CudaGraphs:
    """Captures what a network does on one GPU as CUDA graphs.

    They share one pool of memory, so no two may run at once, and one's logits must be fetched before another runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def __call__(self, forward: Forward, shape: Shape) -> Forward:
        """What replays `forward`, which must have run for this shape before, so that nothing is compiled here."""
        current = torch.cuda.current_stream(self._device)
        pixels = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        graph = torch.cuda.CUDAGraph()
        # A capture that fails would leave its own stream the current one.
        with torch.cuda.stream(current):
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                # What is made for a stream at its first use, as cuBLAS's workspace, is not to be part of a graph.
                forward(pixels)
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                logits = forward(pixels)

        def replay(seen: Tensor) -> Tensor:
            pixels.copy_(seen)
            graph.replay()
            return logits

        return replay

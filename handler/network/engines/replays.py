"""Capture a network's work for an input shape once and replay it: one GPU launch instead of hundreds."""

import logging
import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import count

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

#: Maps uint8 RGB B×h×w×3 to float32 logits B×classes×h'×w' on the same device.
Forward = Callable[[Tensor], Tensor]
#: B, h, w, 3.
Shape = tuple[int, ...]
#: Captures a function for one input shape and returns its replay.
Capture = Callable[[Forward, Shape], Forward]

#: Graphs kept: enough for the common aspect ratios, portrait and landscape, single and in batches.
_MAX_GRAPHS = 16
#: Shapes whose calls are counted.
_MAX_COUNTED = 256
#: Pixels of the largest batch that is captured. Larger ones keep the GPU busy for longer than the launches take, and the memory
#: pool that all graphs share is as large as the largest graph requires.
_MAX_PIXELS = 1 << 22


class Replays:
    """Runs a network; captures a graph the second time an input shape is seen, and replays it from then on.

    Photographs may have any aspect ratio, and most of the rare ones never recur, so the first call captures nothing. The most
    recently used graphs are kept. If a capture fails, a warning is logged and the network runs without graphs.
    """

    def __init__(self, forward: Forward, capture: Capture, max_graphs: int = _MAX_GRAPHS) -> None:
        """Prepare to run `forward`; nothing is captured yet.

        Args:
            forward: the network.
            capture: captures it for one shape.
            max_graphs: graphs to keep.
        """
        self._forward = forward
        self._calls: Callable[[Shape], Iterator[int]] = lru_cache(_MAX_COUNTED)(lambda _: count())
        self._capture = lru_cache(max_graphs)(partial(capture, forward))
        self._failed = False

    def __call__(self, pixels: Tensor) -> Tensor:
        """Map uint8 RGB B×h×w×3 to logits, which the next call may overwrite."""
        shape = tuple(pixels.shape)
        if self._failed or math.prod(shape[:-1]) > _MAX_PIXELS or next(self._calls(shape)) == 0:
            return self._forward(pixels)
        try:
            replay = self._capture(shape)
        except RuntimeError:
            logger.warning("the network runs without CUDA graphs, which is slower: capturing one failed", exc_info=True)
            self._failed = True
            self._capture.cache_clear()
            replay = self._forward
        return replay(pixels)


class CudaGraphs:
    """Captures a network's work on one GPU as CUDA graphs.

    The graphs share a pool of memory: no two may run at once, and the logits of one must be copied before another runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def __call__(self, forward: Forward, shape: Shape) -> Forward:
        """Return a replay of `forward`, which must have run for this shape before: a capture must not load kernels."""
        current = torch.cuda.current_stream(self._device)
        pixels = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        graph = torch.cuda.CUDAGraph()
        # A failed capture would leave its stream current.
        with torch.cuda.stream(current):
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                # Allocations at a stream's first use, such as cuBLAS's workspace, must not become part of a graph.
                forward(pixels)
            # By default, memory that another thread allocates meanwhile, for an explanation, would make the capture fail.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                logits = forward(pixels)

        def replay(new_pixels: Tensor) -> Tensor:
            pixels.copy_(new_pixels)
            graph.replay()
            return logits

        return replay

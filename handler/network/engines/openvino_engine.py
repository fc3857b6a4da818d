"""OpenVINO on the CPU: the fastest engine without a GPU."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Lock
from typing import Any

import numpy as np

from handler.geometry import network_size
from handler.network.engines.base import Engine, EngineOptions, Logits, ModelFiles, Pixels, Precision
from handler.network.engines.openvino_graph import core, is_quantized, make_graph
from handler.network.engines.openvino_runtime import ov
from model.strict import ConfigurationError

_DEVICE = "CPU"
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
#: Primitives kept for each lane, enough for about six image sizes. Preparing them again costs an image 3 ms; OpenVINO's default
#: of 5000 keeps a hundred sizes, which takes 130 MB in a worker with two lanes.
_CACHED_PRIMITIVES = 256
#: (height, width) of a common photograph. Scratch memory is kept for images with up to `_RETAINED_RATIO` times its pixels.
_COMMON_SIZE, _RETAINED_RATIO = (480, 640), 1.5
#: (height, width) of a lane's warm-up image: large enough to load every kernel, small enough to take 15 MB and 30 ms.
_LANE_WARM_UP_SIZE = (64, 64)


class OpenVinoEngine(Engine):
    """Runs a graph that takes images of any size without recompilation."""

    name = "openvino"
    # max_batch stays 1: batching saves no time on a CPU, and its kernels may round differently than those for one image.

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        """Compile the graph for this processor.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the model or this processor does not support the precision in `options`.
        """
        self._graph = core().read_model(files.graph) if files.graph else make_graph(files, options.precision)
        native = native_precision()
        self.precision = _choose_precision(options.precision, quantized=is_quantized(self._graph), native=native)
        self._settings: dict[str, Any] = {
            # In an int8 graph this is the precision of layers that are not quantized.
            "INFERENCE_PRECISION_HINT": _HINTS[native if self.precision == "int8" else self.precision],
            # Pinned threads of several workers would crowd the same cores.
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": _CACHED_PRIMITIVES,
            **({"INFERENCE_NUM_THREADS": options.threads} if options.threads else {}),
        }
        self._max_retained_pixels = int(_RETAINED_RATIO * math.prod(network_size(files.metadata().resize, _COMMON_SIZE)))
        self._scratches: list[_Scratch] = []
        with ThreadPoolExecutor() as executor:
            # Compiling uses a single thread, so both graphs are compiled in parallel.
            pending_lanes = executor.submit(self._compile, streams=options.lanes) if options.lanes > 1 else None
            compiled = self._compile(streams=1)
        (self._full_lane,) = self._open_lanes(compiled, 1)
        count = min(options.lanes, compiled.get_property("INFERENCE_NUM_THREADS"))
        self._lanes = self._warm_lanes(pending_lanes.result(), count) if pending_lanes and count > 1 else [self._full_lane]

    def infer(self, pixels: Pixels) -> Logits:
        return self._full_lane.infer(pixels)

    def lanes(self) -> Sequence[Engine]:
        return self._lanes

    def release_memory(self) -> None:
        for scratch in self._scratches:
            scratch.release()

    def _warm_lanes(self, compiled: ov.CompiledModel, count: int) -> "list[_Lane]":
        lanes = self._open_lanes(compiled, count)
        for lane in lanes:
            lane.infer(np.zeros((1, *_LANE_WARM_UP_SIZE, 3), np.uint8))
        return lanes

    def _open_lanes(self, compiled: ov.CompiledModel, count: int) -> "list[_Lane]":
        scratch = _Scratch(compiled, self._max_retained_pixels)
        self._scratches.append(scratch)
        return [_Lane(self.precision, compiled, scratch) for _ in range(count)]

    def _compile(self, *, streams: int) -> ov.CompiledModel:
        return core().compile_model(self._graph, _DEVICE, self._settings | {"NUM_STREAMS": streams})


class _Lane(Engine):
    """One of a compiled graph's inference requests; callers take turns."""

    name = OpenVinoEngine.name

    def __init__(self, precision: str, compiled: ov.CompiledModel, scratch: "_Scratch") -> None:
        self.precision = precision
        self._request = compiled.create_infer_request()
        self._scratch = scratch
        self._lock = scratch.new_lock()

    def infer(self, pixels: Pixels) -> Logits:
        with self._lock:
            # Input and output are the engine's own memory, which the next call overwrites.
            outputs = self._request.infer({0: np.ascontiguousarray(pixels)}, share_inputs=True, share_outputs=True)
            logits: Logits = outputs[0].copy()
        self._scratch.release_after(pixels)
        return logits


class _Scratch:
    """A compiled graph's intermediate memory: each request keeps what its largest image needed, 0.2 GB for 1.4 megapixels.

    Freeing it after every image would slow a common photograph down by a third, so it is only freed after larger images.
    """

    def __init__(self, compiled: ov.CompiledModel, max_retained_pixels: int) -> None:
        self._compiled = compiled
        self._max_retained_pixels = max_retained_pixels
        self._locks: list[Lock] = []

    def new_lock(self) -> Lock:
        """Return a new lock, which a request must hold while it runs."""
        self._locks.append(Lock())
        return self._locks[-1]

    def release_after(self, pixels: Pixels) -> None:
        """Free the memory if the batch that has run, B×h×w×3, is unusually large."""
        if math.prod(pixels.shape[:-1]) > self._max_retained_pixels:
            self.release()

    def release(self) -> None:
        """Free the memory as soon as no request is running."""
        with ExitStack() as stack:
            for lock in self._locks:
                stack.enter_context(lock)
            self._compiled.release_memory()


def native_precision() -> str:
    """Return the fastest floating-point format this processor computes in natively: `bfloat16` or `float32`."""
    return "bfloat16" if "BF16" in core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES") else "float32"


def _choose_precision(precision: Precision, *, quantized: bool, native: str) -> str:
    supported = ["int8"] if quantized else ["float32", "bfloat16"] if native == "bfloat16" else ["float32"]
    if precision == "auto":
        return supported[-1]
    if precision not in supported:
        reason = {
            "int8": "this model is not quantized (see python -m scripts.quantize), or not at this output stride",
            "bfloat16": "this model is quantized" if quantized else "this processor does not compute in it natively",
            "float32": "this model is quantized",
        }[precision]
        raise ConfigurationError(f"precision {precision!r}: {reason}; use 'auto' or {supported[-1]!r}")
    return precision

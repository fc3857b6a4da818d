"""OpenVINO on the CPU: the fastest engine where there is no GPU."""

from collections.abc import Sequence
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import openvino as ov

from handler.network.engines.base import Engine, EngineOptions, Logits, ModelFiles, Pixels, Precision
from handler.network.engines.openvino_graph import core, is_quantized, make_graph
from model.strict import ConfigurationError

_DEVICE = "CPU"
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine(Engine):
    """Runs a graph that takes images of any size without being compiled again."""

    name = "openvino"
    # max_batch stays 1: a batch saves a CPU no time, and its kernels may round differently from those for one image.

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        """Compile the graph for this processor.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the model or this processor cannot compute in the precision that `options` ask for.
        """
        self._graph = core().read_model(files.graph) if files.graph else make_graph(files, options.precision)
        native = native_precision()
        self.precision = _choose_precision(options.precision, quantized=is_quantized(self._graph), native=native)
        self._settings: dict[str, Any] = {
            # In an int8 graph this is the precision of the layers that are not quantized.
            "INFERENCE_PRECISION_HINT": _HINTS[native if self.precision == "int8" else self.precision],
            # Pinned threads of several workers would crowd the same cores.
            "ENABLE_CPU_PINNING": False,
            **({"INFERENCE_NUM_THREADS": options.threads} if options.threads else {}),
        }
        compiled = self._compile(streams=1)
        self._whole = _Lane(self.precision, compiled)
        self._lane_count = min(options.lanes, compiled.get_property("INFERENCE_NUM_THREADS"))

    def infer(self, pixels: Pixels) -> Logits:
        return self._whole.infer(pixels)

    def lanes(self) -> Sequence[Engine]:
        return self._lanes

    @cached_property
    def _lanes(self) -> Sequence[Engine]:
        if self._lane_count == 1:
            return [self._whole]
        compiled = self._compile(streams=self._lane_count)
        return [_Lane(self.precision, compiled) for _ in range(self._lane_count)]

    def _compile(self, *, streams: int) -> ov.CompiledModel:
        return core().compile_model(self._graph, _DEVICE, self._settings | {"NUM_STREAMS": streams})


class _Lane(Engine):
    """One inference request of a compiled graph, which may have several; callers take turns."""

    name = OpenVinoEngine.name

    def __init__(self, precision: str, compiled: ov.CompiledModel) -> None:
        self.precision = precision
        self._request = compiled.create_infer_request()
        self._turn = Lock()

    def infer(self, pixels: Pixels) -> Logits:
        with self._turn:
            # Input and output are the engine's own memory, which the next call overwrites.
            outputs = self._request.infer({0: np.ascontiguousarray(pixels)}, share_inputs=True, share_outputs=True)
            logits: Logits = outputs[0].copy()
        return logits


def native_precision() -> str:
    """Return the fastest floating-point format this processor computes in natively: `bfloat16` or `float32`."""
    return "bfloat16" if "BF16" in core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES") else "float32"


def _choose_precision(precision: Precision, *, quantized: bool, native: str) -> str:
    possible = ["int8"] if quantized else ["float32", "bfloat16"] if native == "bfloat16" else ["float32"]
    if precision == "auto":
        return possible[-1]
    if precision not in possible:
        reason = {
            "int8": "this model is not quantized (see python -m scripts.quantize), or not at this output stride",
            "bfloat16": "this model is quantized" if quantized else "this processor does not compute in it natively",
            "float32": "this model is quantized",
        }[precision]
        raise ConfigurationError(f"precision {precision!r}: {reason}; use 'auto' or {possible[-1]!r}")
    return precision

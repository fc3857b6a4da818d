"""OpenVINO on the CPU: the fastest engine where there is no GPU."""

from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from handler.engines import EngineOptions, ModelFiles, Precision
from handler.engines.openvino_graph import is_quantized, make_graph
from model.strict import ConfigurationError

_DEVICE = "CPU"
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """Runs a graph, which takes any size without being compiled again."""

    name = "openvino"
    #: A batch saves a CPU no time, and its kernels may round otherwise than those for one image.
    max_batch = 1

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        """
        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the model, or this processor, does not have the precision that `options` ask for.
        """
        core = ov.Core()
        graph = _read(core, files, options.precision)
        native = native_precision(core)
        self.precision = _chosen(options.precision, quantized=is_quantized(graph), native=native)
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # Of int8 too: of the layers that are not quantized.
            "INFERENCE_PRECISION_HINT": _HINTS[native if self.precision == "int8" else self.precision],
            # Threads that are pinned crowd the same cores where several workers run.
            "ENABLE_CPU_PINNING": False,
        }
        if options.threads:
            settings["INFERENCE_NUM_THREADS"] = options.threads
        self._request = core.compile_model(graph, _DEVICE, settings).create_infer_request()

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        # Both ends are shared with the engine's memory, which the next call overwrites.
        outputs = self._request.infer({0: np.ascontiguousarray(pixels)}, share_inputs=True, share_outputs=True)
        logits: npt.NDArray[np.float32] = outputs[0].copy()
        return logits


def native_precision(core: ov.Core) -> str:
    """The fastest floating-point numbers that this processor computes with natively: `bfloat16` or `float32`."""
    return "bfloat16" if "BF16" in core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES") else "float32"


def _read(core: ov.Core, files: ModelFiles, precision: Precision) -> ov.Model:
    return core.read_model(files.graph) if files.graph is not None else make_graph(core, files, precision)


def _chosen(asked: Precision, *, quantized: bool, native: str) -> str:
    possible = ["int8"] if quantized else ["float32", "bfloat16"] if native == "bfloat16" else ["float32"]
    if asked == "auto":
        return possible[-1]
    if asked not in possible:
        reason = {
            "int8": "this model is not quantized (python -m scripts.quantize makes one that is)",
            "bfloat16": "this model is quantized" if quantized else "this processor does not compute in it natively",
            "float32": "this model is quantized",
        }[asked]
        raise ConfigurationError(f"precision {asked!r}: {reason}; use 'auto' or {possible[-1]!r}")
    return asked

"""ONNX files: one file works in every ONNX runtime."""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from handler.network.engines.base import Logits, Pixels
from handler.network.engines.openvino_conversion import example_pixels
from scripts.export.errors import ExportError
from scripts.export.network import FREE_DIMENSIONS, IMAGE, OUTPUTS, PixelsToLabels

#: Supported by ONNX Runtime 1.12 (2022) and later, and by the runtimes in Triton and browsers.
OPSET = 17


def require_packages() -> None:
    """
    Raises:
        ExportError: the packages of the extra `export` are not installed.
    """
    try:
        import_module("onnx")
        import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise ExportError(f"ONNX needs a package that is not installed ({error}); pip install '.[export]'") from error


def write_onnx(module: PixelsToLabels, description: Mapping[str, str], path: Path) -> None:
    """Write `module` to the ONNX file `path`, with `description` in its metadata; the same inputs give the same bytes."""
    import onnx

    with warnings.catch_warnings():
        # torch's newer exporter takes several times as long and needs more packages. The trace is valid for all sizes.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            module,
            (example_pixels(),),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=[IMAGE],
            output_names=list(OUTPUTS),
            dynamic_axes=FREE_DIMENSIONS,
        )
    model = onnx.load(path)
    model.graph.name, model.doc_string = "network", description["usage"]
    onnx.helper.set_model_props(model, dict(description))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def load_onnx(path: Path) -> Callable[[Pixels], tuple[npt.NDArray[Any], Logits]]:
    """Return a function that runs the file with ONNX Runtime in float32 on the CPU, from pixels to labels and logits."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(pixels: Pixels) -> tuple[npt.NDArray[Any], Logits]:
        label_map, logits = session.run(list(OUTPUTS), {IMAGE: np.ascontiguousarray(pixels)})
        return label_map, logits

    return run


def runtime() -> str:
    return f"ONNX Runtime {version('onnxruntime')}"

"""OpenVINO's intermediate representation: an .xml file and its .bin file."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.network.engines.base import Logits, Pixels
from handler.network.engines.openvino_conversion import convert_module
from handler.network.engines.openvino_graph import core, write_graph
from handler.network.engines.openvino_runtime import ov
from scripts.export.network import IMAGE, OUTPUTS, PixelsToLabels

#: The section of the file's `rt_info` that describes the model.
SECTION = "deeplab"
#: Layouts by tensor, which tell OpenVINO Model Server the batch dimension.
_LAYOUTS = {IMAGE: "NHWC", OUTPUTS[0]: "NHW", OUTPUTS[1]: "NCHW"}
#: Without it, processors that support bfloat16 use it.
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


def write_openvino(module: PixelsToLabels, description: Mapping[str, str], path: Path) -> None:
    """Write `module` to `path` (.xml) and its weights to a .bin next to it, with `description` in its `rt_info`."""
    graph = convert_module(module)
    for name, node in zip((IMAGE, *OUTPUTS), (*graph.get_parameters(), *graph.get_results()), strict=True):
        node.output(0).tensor.set_names({name})
        node.set_layout(ov.Layout(_LAYOUTS[name]))
    for key, text in description.items():
        graph.set_rt_info(text, [SECTION, key])
    write_graph(graph, path)


def load_openvino(path: Path) -> Callable[[Pixels], tuple[npt.NDArray[Any], Logits]]:
    """Return a function that runs the files with OpenVINO in float32 on the CPU, from pixels to labels and logits."""
    compiled = core().compile_model(core().read_model(path), "CPU", FLOAT32)

    def run(pixels: Pixels) -> tuple[npt.NDArray[Any], Logits]:
        outputs = compiled({IMAGE: np.ascontiguousarray(pixels)})
        label_map, logits = (outputs[name] for name in OUTPUTS)
        return label_map, logits

    return run


def runtime() -> str:
    return f"OpenVINO {version('openvino')}"

"""Let `import torchvision` succeed with a torch build that its C++ operators do not fit.

PyPI's torchvision has operators built for CUDA. With a CPU-only torch they cannot be loaded, and importing torchvision fails
when it registers shape functions for them. This project uses only torchvision's Python code, so it is enough to declare the
operators without an implementation. With matching builds nothing is declared.

Importing this module declares them. Import it before torchvision and before the libraries that import torchvision: timm and
segmentation_models.pytorch.
"""

import importlib.machinery
import importlib.util
from pathlib import Path

import torch

# The operators for which torchvision registers shape functions unconditionally (torchvision/_meta_registrations.py).
_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _load_compiled_operators() -> bool:
    """Load torchvision's operator library as torchvision does; return False if that is impossible."""
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        raise ImportError("torchvision is not installed; `make setup` installs every dependency")
    library = importlib.machinery.PathFinder.find_spec("_C", [str(Path(package.origin).parent)])
    if library is None or library.origin is None:
        return False
    try:
        torch.ops.load_library(library.origin)
    except OSError:
        return False
    return True


def declare_missing_operators() -> tuple[str, ...]:
    """Declare the operators that torchvision's import needs and this installation lacks.

    Returns:
        The declared names; empty if torchvision's operators load.
    """
    if _load_compiled_operators():
        return ()
    missing = tuple(name for name in _SCHEMAS if not hasattr(torch.ops.torchvision, name))
    for name in missing:
        torch.library.define(f"torchvision::{name}", _SCHEMAS[name])
    return missing


DECLARED = declare_missing_operators()

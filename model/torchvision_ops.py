"""Make `import torchvision` succeed with a torch build that does not match its C++ operators.

PyPI's torchvision has operators built for CUDA. With a CPU-only torch they cannot be loaded, and importing torchvision fails
when it registers shape functions for them. This project only uses torchvision's Python code, so it is enough to declare the
operators without an implementation. With matching builds nothing is declared.

torchvision also imports torch's compiler, for one function that checks whether a device can compile. That takes 2 s and 70 MB,
which a worker would keep after explaining one image, so the function is only imported when it is called.

Importing this module declares the operators and imports torchvision. Import it before torchvision and before the libraries that
import torchvision: timm and segmentation_models.pytorch.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

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
        The declared names; empty if torchvision's operators can be loaded.
    """
    if _load_compiled_operators():
        return ()
    missing = tuple(name for name in _SCHEMAS if not hasattr(torch.ops.torchvision, name))
    for name in missing:
        torch.library.define(f"torchvision::{name}", _SCHEMAS[name])
    return missing


def import_torchvision() -> None:
    """Import torchvision without torch's compiler, unless either is already imported."""
    if not {"torchvision", _COMPILER} & sys.modules.keys():
        try:
            with _defer_compiler():
                importlib.import_module("torchvision")
        except ImportError:  # Another version needs more of the compiler.
            importlib.import_module("torchvision")


@contextmanager
def _defer_compiler() -> Iterator[None]:
    """Replace the compiler with stand-ins for imports inside the block; later imports get the compiler itself."""
    stand_ins = {name: ModuleType(name) for name in (_COMPILER, f"{_COMPILER}.utils")}
    vars(stand_ins[f"{_COMPILER}.utils"])[_is_compile_supported.__name__.strip("_")] = _is_compile_supported
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


def _is_compile_supported(device_type: str) -> bool:
    supported: bool = importlib.import_module(f"{_COMPILER}.utils").is_compile_supported(device_type)
    return supported


_COMPILER = "torch._dynamo"
DECLARED = declare_missing_operators()
import_torchvision()

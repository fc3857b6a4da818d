"""Engines that run a network. They are interchangeable, one file each; torch in float32 defines what is correct."""

from collections.abc import Callable

from handler.network.engines.base import Engine, EngineOptions, Logits, ModelFiles, Pixels, Precision, Region, has_gpu
from model.strict import ConfigurationError, name_hint

__all__ = [
    "AUTO",
    "ENGINES",
    "Engine",
    "EngineOptions",
    "Logits",
    "ModelFiles",
    "Pixels",
    "Precision",
    "Region",
    "build_engine",
    "check_engine_name",
    "has_gpu",
    "reference_engine",
    "resolve_engine",
]


def _build_openvino(files: ModelFiles, options: EngineOptions) -> Engine:
    try:
        from handler.network.engines.openvino_engine import OpenVinoEngine
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"engine 'openvino' needs a package that is not installed ({error}); pip install openvino, or choose 'torch'"
        ) from error
    return OpenVinoEngine(files, options)


def _build_torch(files: ModelFiles, options: EngineOptions) -> Engine:
    if not has_gpu(options):
        return reference_engine(files, options)
    from handler.network.engines.torch_gpu_engine import build_gpu_engine

    return build_gpu_engine(files.load(), options)


#: Each imports its runtime only when chosen.
ENGINES: dict[str, Callable[[ModelFiles, EngineOptions], Engine]] = {"openvino": _build_openvino, "torch": _build_torch}
AUTO = "auto"


def build_engine(name: str, files: ModelFiles, options: EngineOptions) -> Engine:
    """Build the engine called `name` for the network in `files`; `auto` is torch on a GPU and openvino on a CPU.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: the engine does not exist or does not support the precision.
    """
    return ENGINES[resolve_engine(name, options)](files, options)


def resolve_engine(name: str, options: EngineOptions) -> str:
    """Return the engine name that `name`, which may be `auto`, stands for.

    Raises:
        ConfigurationError: the engine does not exist.
    """
    if name == AUTO:
        return "torch" if has_gpu(options) else "openvino"
    return check_engine_name(name)


def reference_engine(files: ModelFiles, options: EngineOptions) -> Engine:
    """Build the plain torch engine in float32: on a CPU it defines what is correct, and on a GPU it has gradients too.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: `options` request another precision.
    """
    from handler.network.engines.torch_engine import TorchEngine

    return TorchEngine(files.load(), options)


def check_engine_name(name: str) -> str:
    """Return `name` if it is `auto` or a known engine.

    Raises:
        ConfigurationError: `name` is neither.
    """
    if name not in {AUTO, *ENGINES}:
        raise ConfigurationError(f"unknown engine {name!r}{name_hint(name, [AUTO, *ENGINES])}")
    return name

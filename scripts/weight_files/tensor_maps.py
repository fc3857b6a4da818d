"""Find the state dicts in a file, wherever the training script put them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from scripts.weight_files.errors import WeightsFileError
from scripts.weight_files.inert_pickle import StandIn, load_inertly

#: State dicts are found above this depth; deeper tensors belong to optimizers and the like.
_MAX_DEPTH = 6


@dataclass(frozen=True)
class TensorMap:
    """Tensors by name, as in a state dict."""

    #: Position in the file: keys joined by dots; empty at the top level.
    key: str
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class WeightsFile:
    """The content of a file."""

    path: Path
    maps: tuple[TensorMap, ...]
    #: Everything in the file, including what is stored alongside the weights.
    content: Any = None
    notes: tuple[str, ...] = field(default=())


def read_weights(path: Path) -> WeightsFile:
    """Read all state dicts in the file at `path`: safetensors by its suffix, otherwise a file written by `torch.save`.

    Raises:
        WeightsFileError: the file is missing, damaged or of another kind, or holds a whole network instead of a state dict.
    """
    if not path.is_file():
        raise WeightsFileError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return WeightsFile(path, (TensorMap("", _read_safetensors(path)),))
    content, programs = load_inertly(path)
    warning = f"the file asks to run {', '.join(programs)}; nothing was run here, but other programs may" if programs else ""
    walk = _Walk()
    walk.visit(content, ())
    if not walk.maps:
        raise WeightsFileError(f"{path}: {_explain_absence(content, walk.networks)}")
    return WeightsFile(path, tuple(walk.maps), content, (warning,) if warning else ())


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsFileError(f"{path}: not a safetensors file: {error}") from error


def _explain_absence(content: Any, networks: Mapping[str, str]) -> str:
    for key, type_name in networks.items():
        return f"holds a whole module ({type_name}{f', under {key!r}' if key else ''}); save model.state_dict() instead"
    kind = content.type_name if isinstance(content, StandIn) else type(content).__name__
    items = f" of {_kinds(content.values())}" if isinstance(content, dict) and content else ""
    return f"holds {kind}{items}, should hold a state dict: tensors by name"


def _kinds(values: Iterable[Any]) -> str:
    kinds = (value.type_name if isinstance(value, StandIn) else type(value).__name__ for value in values)
    return ", ".join(list(dict.fromkeys(kinds))[:4])


class _Walk:
    """Collects state dicts from the top level down."""

    def __init__(self) -> None:
        self.maps: list[TensorMap] = []
        #: Types of whole networks, by position.
        self.networks: dict[str, str] = {}
        # Keeps the objects alive, so that no other object can get the same id.
        self._visited: dict[int, Any] = {}

    def visit(self, value: Any, keys: tuple[str, ...]) -> None:
        if id(value) in self._visited or len(keys) > _MAX_DEPTH:
            return
        self._visited[id(value)] = value
        if isinstance(value, StandIn) and value.is_network:
            self.networks[".".join(keys)] = value.type_name
            return
        if isinstance(value, dict):
            tensors = {name: item for name, item in value.items() if isinstance(name, str) and isinstance(item, Tensor)}
            if tensors:
                self.maps.append(TensorMap(".".join(keys), tensors))
        for key, item in _children(value):
            self.visit(item, (*keys, str(key)))


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from ((key, item) for key, item in value.items() if not isinstance(item, Tensor))
    if isinstance(value, list | tuple):
        yield from ((key, item) for key, item in enumerate(value) if isinstance(item, dict | list | tuple))
    if isinstance(value, StandIn):
        # An object's state holds its attributes.
        states = value.state if isinstance(value.state, tuple) else (value.state,)
        for state in states:
            if isinstance(state, dict):
                yield from state.items()

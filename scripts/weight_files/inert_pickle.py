"""Unpickle files written by `torch.save` without importing or calling anything that they name.

A pickle is a program: it names callables and calls them. Here only the functions in `_BUILDERS` run, which make tensors and
dicts. Everything else (argparse.Namespace, NumPy scalars, paths, whole networks, os.system) becomes a `StandIn`, which records
the name and keeps the object's items and state.

The interpreter is the standard library's pure-Python one, with the opcodes that import, call or set attributes replaced.
torch's weights-only unpickler would refuse the whole file because of one unknown name.
"""

import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor

from scripts.weight_files.errors import WeightsFileError

#: If this variable is set, torch.load refuses its caller's unpickler.
_WEIGHTS_ONLY_VARIABLE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
#: Modules and builtins that a pickle would use to run a program.
_PROGRAM_RUNNERS = {"os", "posix", "nt", "subprocess", "sys", "pty", "shutil", "socket", "runpy", "importlib", "ctypes"}
_BUILTINS = {"builtins", "__builtin__", "io", "_io"}
_RUNNING_BUILTINS = {"eval", "exec", "compile", "open", "__import__", "breakpoint", "input"}
#: Functions that build a Tensor subclass; their arguments are a function, the type, the function's arguments and a state.
_TENSOR_SUBCLASS = {"torch._tensor._rebuild_from_type", "torch._tensor._rebuild_from_type_v2"}


class Global:
    """A name in a pickle, such as a class, that is not imported."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name
        self.__name__ = f"{module}.{name}"

    @property
    def runs_programs(self) -> bool:
        """Whether a pickle would name this only to run a program."""
        root = self.module.partition(".")[0]
        return root in _PROGRAM_RUNNERS or (root in _BUILTINS and self.name in _RUNNING_BUILTINS)


class StandIn(dict[Any, Any]):
    """A placeholder for an object. It keeps the object's items and state, because these may contain weights."""

    def __init__(self, type_name: str, state: Any = None) -> None:
        super().__init__()
        self.type_name = type_name
        self.state = state

    def __eq__(self, other: object) -> bool:
        return self is other

    # Stand-ins may be in sets, and keys of dicts.
    __hash__ = object.__hash__  # type: ignore[assignment]

    def append(self, item: object) -> None:
        """Discard an item of a list or set."""

    extend = add = append

    @property
    def is_network(self) -> bool:
        """Whether this stands for a `torch.nn.Module`."""
        return isinstance(self.state, dict) and "_parameters" in self.state and "_modules" in self.state


def load_inertly(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Read a file written by `torch.save`, in the current zip format or the older one, onto the CPU.

    Returns:
        The content, with a `StandIn` for everything except plain values, dicts and tensors; and names in it that run programs.

    Raises:
        WeightsFileError: the file was not written by `torch.save`, or is damaged.
    """
    _require_torch_save(path)
    if os.environ.get(_WEIGHTS_ONLY_VARIABLE, "0").lower() in ("1", "y", "yes", "true"):
        raise WeightsFileError(
            f"{path}: {_WEIGHTS_ONLY_VARIABLE} is set, which allows only torch's readers; unset it: nothing is run here"
        )
    pickle_globals: list[Global] = []

    class Unpickler(InertUnpickler):
        names = pickle_globals

    # The part of the `pickle` module that torch.load uses.
    inert_pickle = SimpleNamespace(
        __name__="inert_pickle", Unpickler=Unpickler, load=lambda file, **options: Unpickler(file, **options).load()
    )
    try:
        content = torch.load(path, map_location="cpu", pickle_module=inert_pickle, weights_only=False, mmap=False)
    # A damaged or hostile pickle can make any operation fail in any way.
    except Exception as error:
        raise WeightsFileError(
            f"{path}: torch.save did not write it, or it is damaged ({type(error).__name__} while reading it)"
        ) from error
    return content, tuple(sorted({name.__name__ for name in pickle_globals if name.runs_programs}))


def _require_torch_save(path: Path) -> None:
    """Refuse files that torch.load would not read with the given unpickler."""
    with path.open("rb") as file:
        starts_as_zip = file.read(2) == b"PK"
    if starts_as_zip and not zipfile.is_zipfile(path):
        raise WeightsFileError(f"{path}: a zip file that is cut short or damaged")
    if starts_as_zip:
        with zipfile.ZipFile(path) as archive:
            members = {name.rpartition("/")[2] for name in archive.namelist()}
        if "constants.pkl" in members:
            raise WeightsFileError(f"{path}: a TorchScript program; save model.state_dict() with torch.save")
        if "data.pkl" not in members:
            raise WeightsFileError(f"{path}: a zip file that torch.save did not write")
    elif tarfile.is_tarfile(path):
        raise WeightsFileError(f"{path}: a tar file; save model.state_dict() with the current torch.save")


class InertUnpickler(pickle._Unpickler):  # The public class is written in C, where opcodes cannot be replaced.
    """Unpickles plain values and tensors; everything else becomes a stand-in."""

    #: Every `Global` in the file.
    names: list[Global]
    #: The interpreter's stack, and its method for pushing a value.
    stack: list[Any]
    append: Callable[[Any], None]
    _storage_by_id: Callable[[Any], Any]

    @property
    def persistent_load(self) -> Callable[[Any], Any]:
        """Return the function that loads objects stored outside the pickle, by id."""
        return self._load_external

    @persistent_load.setter
    def persistent_load(self, load: Callable[[Any], Any]) -> None:
        # torch.load sets its own function, which returns storages.
        self._storage_by_id = load

    def _load_external(self, identifier: Any) -> Any:
        if isinstance(identifier, tuple) and len(identifier) > 1 and identifier[0] in ("module", b"module"):
            return identifier[1]  # torch would look up the source code of the network's class to compare it.
        return self._storage_by_id(identifier)

    def find_class(self, module: str, name: str) -> Any:
        """Return a `Global`, or a constant that torch needs: a dtype, or the class of untyped storages."""
        constant = getattr(torch, name, None) if module in {"torch", "torch.storage"} else None
        if isinstance(constant, torch.dtype) or constant is torch.UntypedStorage:
            return constant
        reference = Global(module, name)
        self.names.append(reference)
        return reference

    def get_extension(self, code: int) -> None:
        """Push a `Global` for an object registered with `copyreg` by number."""
        self.append(Global("copyreg", f"extension {code}"))

    def _load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _call(self.stack[-1], arguments)

    def _load_newobj(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _call(self.stack[-1], arguments)

    def _load_newobj_ex(self) -> None:
        self.stack.pop()
        self._load_newobj()

    def _instantiate(self, cls: Any, arguments: Any) -> None:
        self.append(_call(cls, tuple(arguments)))

    def _load_build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], StandIn):
            self.stack[-1].state = state

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: _load_reduce,
        pickle.NEWOBJ[0]: _load_newobj,
        pickle.NEWOBJ_EX[0]: _load_newobj_ex,
        pickle.BUILD[0]: _load_build,
    }


def _call(function: Any, arguments: Any) -> Any:
    """Return `function(*arguments)` if the function is one of `_BUILDERS`, else a stand-in."""
    name = function.__name__ if isinstance(function, Global) else type(function).__name__
    if name in _TENSOR_SUBCLASS and len(arguments) > 2:
        return _call(arguments[0], arguments[2])
    if name in _BUILDERS:
        return _BUILDERS[name](*arguments)
    if name == "copyreg._reconstructor":
        return _call(arguments[0], arguments[2:])
    return StandIn(name, arguments)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return torch._utils._rebuild_tensor(storage, offset, size, stride)  # type: ignore[no-any-return]


def _tensor_of_dtype(
    storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *extra_arguments: Any
) -> Tensor:
    dtype = extra_arguments[2]
    return torch.empty((0,), dtype=dtype).set_(storage._untyped_storage, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _mapping(*arguments: Any) -> dict[Any, Any]:
    """Build a dict in place of an OrderedDict and the like; a defaultdict's first argument is the factory of its values."""
    return dict(arguments[-1]) if arguments and not isinstance(arguments[-1], Global) else {}


_BUILDERS: dict[str, Callable[..., Any]] = {
    "builtins.dict": _mapping,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "torch.Size": lambda *sizes: tuple(*sizes),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}

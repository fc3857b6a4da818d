"""A few of PyTorch's operators on NumPy arrays, without its Python package.

`import torch` takes two seconds and 90 MB more than the library that holds the operators. This module loads the library alone
and calls it through its stable C interface (`torch/csrc/stable/c/shim.h`), so results are bit-identical to PyTorch's. If the
library cannot be called that way, the package is imported instead.
"""

import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", bound=np.generic)
Floats = npt.NDArray[np.float32]

#: The C interface version used here, which is a PyTorch version: one byte for major, one for minor, then six zero bytes.
_INTERFACE_VERSION = (2 << 56) | (13 << 48)
_NONE = 0
_CPU, _ANY_DEVICE_INDEX = 0, -1
_LIBRARY_NAMES = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}
#: at::set_num_threads(int), which has no C name.
_SET_THREADS = "_ZN2at15set_num_threadsEi"
_FUNCTIONS = (
    "aoti_torch_create_tensor_from_blob",
    "aoti_torch_delete_tensor_object",
    "torch_call_dispatcher",
    "torch_exception_get_what_without_backtrace",
    "torch_list_push_back",
    "torch_new_list_reserve_size",
    _SET_THREADS,
)


def resize_antialiased(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize `pixels`, uint8 H×W×C, to `size` (height, width): bilinear, antialiased, half-pixel centres; uint8 h×w×C."""
    source = _contiguous(pixels)
    resized = np.empty((*size, pixels.shape[2]), np.uint8)
    _operators().resize("_upsample_bilinear2d_aa", source.transpose(2, 0, 1)[None], resized.transpose(2, 0, 1)[None])
    return resized


def interpolate(planes: Floats, size: tuple[int, int]) -> Floats:
    """Interpolate `planes`, float32 C×H×W, to `size` (height, width): bilinear, half-pixel centres; float32 C×h×w."""
    interpolated = np.empty((planes.shape[0], *size), np.float32)
    _operators().resize("upsample_bilinear2d", _contiguous(planes)[None], interpolated[None])
    return interpolated


def softmax(values: Floats) -> Floats:
    """Return the softmax of `values`, float32 C×…, over the first dimension."""
    result = np.empty(values.shape, np.float32)
    _operators().softmax(_contiguous(values), result)
    return result


def log(values: Floats) -> Floats:
    """Return the natural logarithm of float32 `values` of any shape."""
    result = np.empty(values.shape, np.float32)
    _operators().log(_contiguous(values), result)
    return result


def lerp(start: Floats, end: Floats, weight: Floats) -> Floats:
    """Interpolate between `start` and `end`, of one shape, at `weight`, 0..1, which is broadcast to that shape."""
    result = np.empty(start.shape, np.float32)
    _operators().lerp(_contiguous(start), _contiguous(end), _contiguous(weight), result)
    return result


def set_threads(count: int) -> None:
    """Let PyTorch's operators use `count` threads. This is process-wide and also applies to the Python package."""
    _operators().set_threads(count)


def _contiguous(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return `array` in C order. NumPy ignores a reversed dimension of length 1, but PyTorch rejects negative strides."""
    return array.copy() if min(array.strides) < 0 else np.ascontiguousarray(array)


def load() -> None:
    """Load the library now instead of on first use. Loading mostly runs without the GIL, so other threads can work."""
    _operators()


class _Operators(Protocol):
    """Operators that write their result into an array."""

    def resize(self, name: str, source: npt.NDArray[Any], result: npt.NDArray[Any]) -> None: ...

    def softmax(self, source: Floats, result: Floats) -> None: ...

    def log(self, source: Floats, result: Floats) -> None: ...

    def lerp(self, start: Floats, end: Floats, weight: Floats, result: Floats) -> None: ...

    def set_threads(self, count: int) -> None: ...


@cache
def _operators() -> _Operators:
    return _load_operators()


def _load_operators() -> _Operators:
    if path := _library_path():
        try:
            return _Library(path)
        except (OSError, AttributeError):
            # The library cannot be loaded on its own, or its version lacks this interface.
            pass
    return _Package()


def _library_path() -> Path | None:
    """Return the path of PyTorch's library without importing the package, or None if it is unknown."""
    spec = importlib.util.find_spec("torch")
    name = _LIBRARY_NAMES.get(sys.platform)
    if spec is None or spec.origin is None or name is None:
        return None
    return Path(spec.origin).with_name("lib") / name


class _Library:
    """PyTorch's library, called through its C interface."""

    def __init__(self, path: Path) -> None:
        """Load the library at `path`.

        Raises:
            OSError: the library cannot be loaded.
            AttributeError: it lacks a required function.
        """
        library = ctypes.CDLL(str(path))
        for name in _FUNCTIONS:
            getattr(library, name)
        library.torch_exception_get_what_without_backtrace.restype = ctypes.c_char_p
        self._library = library
        self._dtypes = {
            np.dtype(np.uint8): library.aoti_torch_dtype_uint8(),
            np.dtype(np.float32): library.aoti_torch_dtype_float32(),
        }

    def resize(self, name: str, source: npt.NDArray[Any], result: npt.NDArray[Any]) -> None:
        size, align_corners, scales = self._to_list(result.shape[2:]), 0, (_NONE, _NONE)
        self._call(name, "out", self._to_tensor(source), size, align_corners, *scales, self._to_tensor(result))

    def softmax(self, source: Floats, result: Floats) -> None:
        dimension, half_to_float = 0, 0
        self._call("_softmax", "out", self._to_tensor(source), dimension, half_to_float, self._to_tensor(result))

    def log(self, source: Floats, result: Floats) -> None:
        self._call("log", "out", self._to_tensor(source), self._to_tensor(result))

    def lerp(self, start: Floats, end: Floats, weight: Floats, result: Floats) -> None:
        self._call("lerp", "Tensor_out", *(self._to_tensor(array) for array in (start, end, weight, result)))

    def set_threads(self, count: int) -> None:
        self._library[_SET_THREADS](ctypes.c_int(count))

    def _call(self, name: str, overload: str, *arguments: int) -> None:
        """Call an operator's variant that writes into its last argument; the call takes ownership of all tensors and lists."""
        stack = (ctypes.c_uint64 * len(arguments))(*arguments)
        version = ctypes.c_uint64(_INTERFACE_VERSION)
        self._check(self._library.torch_call_dispatcher(f"aten::{name}".encode(), overload.encode(), stack, version))
        self._check(self._library.aoti_torch_delete_tensor_object(ctypes.c_void_p(stack[0])))

    def _to_tensor(self, array: npt.NDArray[Any]) -> int:
        """Return the handle of a tensor that shares the memory of `array`, which must outlive it."""
        handle = ctypes.c_void_p()
        integers = ctypes.c_int64 * array.ndim
        self._check(
            self._library.aoti_torch_create_tensor_from_blob(
                ctypes.c_void_p(array.ctypes.data),
                ctypes.c_int64(array.ndim),
                integers(*array.shape),
                integers(*(step // array.itemsize for step in array.strides)),
                ctypes.c_int64(0),
                ctypes.c_int32(self._dtypes[array.dtype]),
                ctypes.c_int32(_CPU),
                ctypes.c_int32(_ANY_DEVICE_INDEX),
                ctypes.byref(handle),
            )
        )
        return handle.value or 0

    def _to_list(self, values: Sequence[int]) -> int:
        """Return the handle of a list of integers."""
        handle = ctypes.c_void_p()
        self._check(self._library.torch_new_list_reserve_size(ctypes.c_size_t(len(values)), ctypes.byref(handle)))
        for value in values:
            self._check(self._library.torch_list_push_back(handle, ctypes.c_uint64(value)))
        return handle.value or 0

    def _check(self, error: int) -> None:
        if error:
            reason = self._library.torch_exception_get_what_without_backtrace() or b"no reason given"
            raise RuntimeError(f"PyTorch's library: {reason.decode(errors='replace')}")


class _Package:
    """PyTorch's Python package."""

    def __init__(self) -> None:
        self._torch: Any = importlib.import_module("torch")

    def resize(self, name: str, source: npt.NDArray[Any], result: npt.NDArray[Any]) -> None:
        operator = getattr(self._torch.ops.aten, name).out
        operator(self._to_tensor(source), list(result.shape[2:]), False, None, None, out=self._to_tensor(result))

    def softmax(self, source: Floats, result: Floats) -> None:
        self._torch.softmax(self._to_tensor(source), 0, out=self._to_tensor(result))

    def log(self, source: Floats, result: Floats) -> None:
        self._torch.log(self._to_tensor(source), out=self._to_tensor(result))

    def lerp(self, start: Floats, end: Floats, weight: Floats, result: Floats) -> None:
        self._torch.lerp(self._to_tensor(start), self._to_tensor(end), self._to_tensor(weight), out=self._to_tensor(result))

    def set_threads(self, count: int) -> None:
        self._torch.set_num_threads(count)

    def _to_tensor(self, array: npt.NDArray[Any]) -> Any:
        return self._torch.from_numpy(array if array.flags.writeable else array.copy())
